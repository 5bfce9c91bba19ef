"""One experiment: check the config, build the parts, fit, test, write the run directory, load it back."""
