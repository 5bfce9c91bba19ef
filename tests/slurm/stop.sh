#!/usr/bin/env bash
# End what start.sh has started in FOLDER, jobs included.
set -u
folder=$1
export SLURM_CONF=$folder/slurm.conf
grep -v ' node1 node2$' /etc/hosts > "$folder/hosts" && cat "$folder/hosts" > /etc/hosts
scancel --user="$(id -un)" 2>/dev/null
for name in slurmd.node1 slurmd.node2 slurmctld munge; do
  [ -f "$folder/$name.pid" ] && pids+=" $(cat "$folder/$name.pid")"
done
# shellcheck disable=SC2086
kill ${pids:-} 2>/dev/null
for _ in $(seq 100); do
  # shellcheck disable=SC2086
  kill -0 ${pids:-} 2>/dev/null || exit 0
  sleep 0.1
done
# shellcheck disable=SC2086
kill -9 ${pids:-} 2>/dev/null
