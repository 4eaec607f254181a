#!/usr/bin/env bash
# A real SLURM on this machine, for tests: cluster.sh start|stop FOLDER [plain]. As root, with Debian's slurm-wlm and munge.
# Two nodes with 4 CPUs and 2 GPUs of type `fake` that the scheduler counts and nobody can open; partitions cpu (default) and gpu.
# plain: one node that does not say how much memory it has, in a partition that ends jobs after half an hour.
set -euo pipefail
action=$1 folder=$2 kind=${3:-}
export SLURM_CONF=$folder/slurm.conf

stop() {
    timeout 10 scancel --state=PENDING --quiet || true
    timeout 10 scancel --state=RUNNING --quiet || true
    for _ in {1..50}; do
        [[ -n $(timeout 5 squeue --noheader 2>/dev/null) ]] || break
        sleep 0.2
    done
    for pid_file in "$folder"/{slurmd-*,slurmctld,munge}.pid; do
        [[ ! -s $pid_file ]] || kill "$(<"$pid_file")" 2>/dev/null || true
    done
}

write_configuration() {
    # MinJobAge: Nextflow asks for jobs that have ended. The nodes share this machine's name, so each has its own port.
    cat >"$SLURM_CONF" <<CONF
ClusterName=test$kind
SlurmctldHost=localhost(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge.sock
CredType=cred/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool-%n
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd-%n.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MailProg=/bin/true
MpiDefault=none
SelectType=select/cons_tres
SchedulerParameters=bf_interval=2,sched_interval=2,batch_sched_delay=0,sched_min_interval=100000
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=5
MinJobAge=600
CONF
    if [[ $kind == plain ]]; then
        cat >>"$SLURM_CONF" <<CONF
SlurmctldPort=26917
SelectTypeParameters=CR_Core
NodeName=p1 NodeHostname=localhost NodeAddr=127.0.0.1 Port=26921 CPUs=4 State=UNKNOWN
PartitionName=debug Nodes=ALL Default=YES MaxTime=30
CONF
        return
    fi
    cat >>"$SLURM_CONF" <<CONF
SlurmctldPort=26817
SelectTypeParameters=CR_Core_Memory
EnforcePartLimits=ALL
GresTypes=gpu
NodeName=n1 NodeHostname=localhost NodeAddr=127.0.0.1 Port=26821 CPUs=4 RealMemory=16000 Gres=gpu:fake:2 State=UNKNOWN
NodeName=n2 NodeHostname=localhost NodeAddr=127.0.0.1 Port=26822 CPUs=4 RealMemory=16000 Gres=gpu:fake:2 State=UNKNOWN
PartitionName=cpu Nodes=ALL Default=YES DefaultTime=60 MaxTime=2-00:00:00
PartitionName=gpu Nodes=ALL DefaultTime=60 MaxTime=60
CONF
    cat >"$folder/gres.conf" <<CONF
AutoDetect=off
NodeName=n[1-2] Name=gpu Type=fake File=$folder/gpu[0-1]
CONF
    # Numbers of the NVIDIA driver, so that they are nobody's device where it is absent.
    mknod "$folder/gpu0" c 195 0
    mknod "$folder/gpu1" c 195 1
}

start() {
    mkdir -p "$folder/state"
    head -c 1024 /dev/urandom >"$folder/munge.key"
    chmod 400 "$folder/munge.key"
    munged --force --key-file="$folder/munge.key" --socket="$folder/munge.sock" --pid-file="$folder/munge.pid" \
        --log-file="$folder/munge.log" --seed-file="$folder/munge.seed"
    write_configuration
    local nodes=(n1 n2)
    [[ $kind != plain ]] || nodes=(p1)
    slurmctld -i
    for node in "${nodes[@]}"; do
        slurmd -N "$node"
    done
    for _ in {1..100}; do
        [[ $(timeout 5 sinfo --noheader --Node --format=%N --states=idle 2>/dev/null | sort -u | wc -l) != "${#nodes[@]}" ]] || return 0
        sleep 0.2
    done
    tail -n 20 "$folder"/*.log >&2
    return 1
}

"$action"
