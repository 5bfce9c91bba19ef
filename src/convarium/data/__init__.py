"""What networks are trained on: image sets as Lightning data modules, their sources and their loaders.

No architecture and no loss is known here. Nothing is imported here, so that `convarium.data.facts` stays free of torch.
"""
