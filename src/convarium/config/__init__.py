"""From words to one checked, resolved, plain config; what is known of a key is one row of `keys`.

No torch, no run directory and no knowledge of how an experiment is run may live here.
"""
