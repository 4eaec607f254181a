#!/usr/bin/env bash
#SBATCH --job-name=bulkrnabert
#SBATCH --cpus-per-task=1
#SBATCH --mem=4G
#SBATCH --time=1-00:00:00
#SBATCH --signal=B:USR1@600
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=bulkrnabert-%j.log
# Nextflow as a job of its own, for login nodes that end long processes:
#   sbatch [--partition=long --time=…] conf/slurm_head_job.sh -profile slurm --input sheet.csv --outdir results
# The arguments are those of `nextflow run .`. Ten minutes before its time limit, or when its node is lost, the job is
# queued again and goes on with -resume. `scancel --batch --signal=TERM JOB` ends it together with the jobs that it started.
set -uo pipefail

# SLURM runs a copy of this file; the clone is where the job was submitted from: Command=PATH/slurm_head_job.sh ARGUMENTS
script=$(scontrol show job "$SLURM_JOB_ID" --oneliner)
script=${script#* Command=}
script=${script%%/slurm_head_job.sh*}
if ! repository=$(cd -P "$script/.." && pwd) || [[ ! -f "$repository/nextflow.config" ]]; then
    echo "Error: no clone of the pipeline around $script; submit the file conf/slurm_head_job.sh of a clone" >&2
    exit 2
fi
job=$SLURM_JOB_ID
# What this job was given is not for the jobs that Nextflow submits.
for name in ${!SLURM_@} ${!SBATCH_@}; do
    [[ $name == SLURM_CONF ]] || unset "$name"
done
export NXF_OPTS=${NXF_OPTS:-'-Xms512m -Xmx3g'} NXF_ANSI_LOG=false

"${BRB_LAUNCHER:-$repository/nextflow}" run "$repository" -resume "$@" &
nextflow=$!
is_out_of_time=
trap 'is_out_of_time=yes; kill -TERM $nextflow' USR1
trap 'kill -TERM $nextflow' TERM INT
# A signal ends the first wait; Nextflow then takes its time to cancel its jobs.
wait $nextflow
code=$?
while kill -0 $nextflow 2>/dev/null; do
    wait $nextflow
    code=$?
done
if [[ -n $is_out_of_time ]]; then
    scontrol requeue "$job"
fi
exit "$code"
