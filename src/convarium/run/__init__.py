"""One experiment: prepare, launch, fit, test, record; its directory, its checkpoints, how it stops and goes on.

Nothing of several experiments (that is sweep/) and nothing of the command line lives here.
"""
