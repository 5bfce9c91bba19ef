"""The jobs of a sweep as jobs of Slurm, through submitit; the queue, the statuses and the table are those of any sweep.

Slurm keeps them going when the controller is gone: another one finds them by what the manifest says and goes on
watching. What is known of a job is its result.json, the word that its task leaves (`task`), and what squeue and
scontrol say; accounting is asked only for what they have forgotten.
"""
