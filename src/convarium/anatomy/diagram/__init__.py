"""The diagram of a network: from its layers to boxes, their places, and a file. structure, layout, scene, and a writer
for each kind of file; nothing here knows an architecture by name."""

KINDS = ("svg", "png", "pdf", "html")  # of files
