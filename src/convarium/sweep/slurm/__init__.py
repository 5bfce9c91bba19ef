"""The jobs of a sweep as jobs of Slurm, through submitit; the queue, the statuses and the table are those of any sweep.

Slurm keeps the jobs running when the controller is gone: another controller finds them by the manifest and goes on
watching. How a job is doing is read from its result.json, from the file that `watch` leaves at its end, and from squeue
and scontrol; accounting is asked only about jobs that these no longer list.
"""
