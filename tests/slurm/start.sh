#!/usr/bin/env bash
# A Slurm of two nodes on one machine, from Debian's packages slurmctld, slurmd, slurm-client and munge; as root.
#
#     tests/slurm/start.sh FOLDER     starts munged, slurmctld and two slurmd, with all their files in FOLDER
#     SLURM_CONF=FOLDER/slurm.conf    is what srun and the like need to know
#     tests/slurm/stop.sh FOLDER      ends them
#
# Two partitions of the same nodes: `low` is preempted, by requeueing, by `high`. There is no accounting. The names of
# the nodes are in /etc/hosts meanwhile: ranks on both look for the first.
set -euo pipefail
mkdir -p "$1"/{state,log,munge}
folder=$(cd "$1" && pwd)
host=$(hostname -s)
cores=$(nproc)
memory=$(awk '/^MemTotal:/ {print int($2 / 1024 * 0.4)}' /proc/meminfo)

# munge: its key and socket here, so that no installed service is touched
chmod 755 "$folder/munge"
key=$folder/munge/munge.key
[ -f "$key" ] || dd if=/dev/urandom of="$key" bs=1 count=1024 status=none
chmod 400 "$key"
munged --force --key-file="$key" --socket="$folder/munge/socket" --pid-file="$folder/munge.pid" \
  --log-file="$folder/log/munged" --seed-file="$folder/munge/seed"

cat > "$folder/slurm.conf" <<CONF
ClusterName=convarium
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket,cred_expire=10
CredType=cred/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool.%n
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.%n.pid
SlurmctldLogFile=$folder/log/slurmctld
SlurmdLogFile=$folder/log/slurmd.%n
SlurmctldPort=16817
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
KillWait=20
MinJobAge=3600
ReturnToService=2
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
NodeName=node1 NodeHostname=$host NodeAddr=127.0.0.1 Port=16818 CPUs=$cores RealMemory=$memory State=UNKNOWN
NodeName=node2 NodeHostname=$host NodeAddr=127.0.0.1 Port=16819 CPUs=$cores RealMemory=$memory State=UNKNOWN
PartitionName=low Nodes=node[1-2] Default=YES MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=15
PartitionName=high Nodes=node[1-2] MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
CONF
grep -q ' node1 node2$' /etc/hosts || echo '127.0.0.1 node1 node2' >> /etc/hosts
export SLURM_CONF=$folder/slurm.conf
slurmctld
slurmd -N node1
slurmd -N node2
for _ in $(seq 100); do
  [ "$(sinfo --noheader --partition=low --format='%D %T' 2>/dev/null)" = "2 idle" ] && exit 0
  sleep 0.2
done
echo "Slurm did not start; see $folder/log" >&2
exit 1
