"""Random changes to training images: batched, on the batch's device, each a pure function of (images, key).

No state and no other source of randomness: a sample changes in the same way in whatever batch, rank or device it is.
"""
