"""What watches a run: progress, throughput, figures, trackers. Removing any of it changes no result.

Nothing here may change a weight, a batch or a random number.
"""
