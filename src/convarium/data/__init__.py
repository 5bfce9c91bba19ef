"""What networks are trained on: image sets as Lightning data modules, their loaders, and augmentation.

Nothing is imported here, so that `convarium.data.facts` stays free of torch.
"""
