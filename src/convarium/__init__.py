"""Convarium: an experiment platform for convolutional networks."""
