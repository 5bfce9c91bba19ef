"""Datasets packed into a few large files: `packing` writes them, `shards` says what lies where, `storage` reads bytes,
`cache` keeps them, `source` makes images of them. No other way to store a dataset, and no network but in `storage`.
"""
