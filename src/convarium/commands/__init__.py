"""The command line: one file a verb, its words, its help, what it prints; `words` reads them all the same way.

No training, no arithmetic and no Hydra internals live here, and no file imports torch before its verb runs.
"""
