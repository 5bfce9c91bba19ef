"""What runs and sweeps have come to, read from their directories: tables, means, intervals, comparisons.

Nothing here trains, draws or knows a live object; no torch.
"""
