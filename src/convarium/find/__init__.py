"""What an experiment can be asked before it is run: by which learning rate, by how many images at a time.

It trains for a few steps with what `convarium.run` assembles, in one process and without a run directory, and leaves
the experiment as it was. Nothing that is trained here is kept.
"""
