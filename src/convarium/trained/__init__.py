"""A run loaded back: its network, metrics measured again, predictions, figures, the network as a file for others.

Nothing that trains, and nothing that changes the record of a run, lives here. The words below need no torch.
"""

WEIGHTS = ("final", "best", "last")
"""Those that the run tested and left behind; those of its best validation; those of its newest checkpoint."""

SPLITS = ("test", "val")

FORMATS = {"onnx": ".onnx", "torch_export": ".pt2", "safetensors": ".safetensors"}
"""Of an exported network, each with the suffix of its file."""
