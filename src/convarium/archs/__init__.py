"""Architectures, one file per paper: each imports torch and the layers, nothing else."""
