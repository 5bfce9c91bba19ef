"""The shells by which Hydra finds what convarium adds to it; imported at every start, so nothing heavy here."""
