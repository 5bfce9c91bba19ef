"""Many experiments: which they are, in what order they run, what became of each, and the table of them.

How one of them trains is not known here; where jobs run is local/ and slurm/.
"""
