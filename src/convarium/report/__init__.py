"""Pages of runs and of sweeps: one file each, which fetches nothing. They read directories, never a live object."""
