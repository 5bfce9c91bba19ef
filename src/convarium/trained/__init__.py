"""A run loaded back: its network, its metrics measured again, its predictions, its network as a file for others.

Nothing that trains, and nothing that changes a run directory, lives here.
"""
