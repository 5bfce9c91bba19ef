"""Image files as a split: which there are, of which class, decoded when asked for or once for all runs.

No dataset by name, and nothing that decodes by itself (that is readers/).
"""
