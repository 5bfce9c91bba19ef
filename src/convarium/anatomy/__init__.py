"""What an architecture is: what each layer costs and sees, drawn and explained. It knows nothing of training.

Nothing here reads a config or a run: a network comes in as a module, and what is written is for a verb to say.
"""
