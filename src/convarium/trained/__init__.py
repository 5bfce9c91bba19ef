"""A run loaded back: its network, metrics measured again, predictions, figures, what it looks at, a file for others.

Nothing that trains, and nothing that changes the record of a run, lives here. The words below need no torch.
"""

WEIGHTS = ("final", "best", "last")
"""Those that the run tested and left behind; those of its best validation; those of its newest checkpoint."""

SPLITS = ("test", "val")

FORMATS = {"onnx": ".onnx", "torch_export": ".pt2", "safetensors": ".safetensors"}
"""Of an exported network, each with the suffix of its file."""

EXPLANATIONS = ("gradcam", "saliency", "occlusion", "nudge")
"""Of predictions: what speaks for them, and how little changes them."""

VIEWS = ("all", "kernels", "maps", *EXPLANATIONS, "filters", "layers")
"""What `look` shows of a network; all: what needs no pass over a split, which filters do."""
