"""Jobs in processes of this machine: who starts them, who sees them end, and which devices each may use.

Nothing of the sweep itself (its jobs, its directory, its table) is known here.
"""
