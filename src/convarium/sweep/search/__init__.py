"""Sweeps whose points a sampler chooses while they run: what is searched, which point comes next, which job is pruned.

Optuna samples and prunes; the study lives in memory and is built anew from the manifest at every start.
"""
