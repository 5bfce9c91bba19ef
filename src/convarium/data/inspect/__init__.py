"""Is every picture of a dataset what it should be? Find them, decode them in processes, count, and report.

Nothing of training belongs here; `convarium data check` is its only caller.
"""
