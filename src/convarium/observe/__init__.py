"""What watches a run: progress, throughput, figures, its inside, trackers. Removing any of it changes no result.

Nothing here may change a weight, a batch or a random number.
"""
