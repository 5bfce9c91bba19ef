"""Random changes to training images: batched, on the batch's device, each sample by its own key.

An augmentation is a pure function of (images, key): the same sample in the same epoch is changed in the same way,
whatever batch, rank or device it is in.
"""
