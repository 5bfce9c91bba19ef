"""Many experiments: what is to be run, where it stands, who runs it, and one table at the end."""
