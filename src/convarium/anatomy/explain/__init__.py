"""What the literature explains by an example, with one's own numbers: a topic is a function in a file of this folder.

No torch here: the tests hold the answers against torch's own layers.
"""
