"""Datasets packed into a few large files, read by index from this disk or from object storage.

`shards` says what lies where, `place` reads bytes, `cache` keeps them, `source` makes images of them.
"""
