#!/usr/bin/env bash
# A cohort as a Slurm job array, one shard per task, and the tables joined at the end:
#
#   sbatch --array=1-12 slurm.sh cohort.csv results 12
#   sbatch --dependency=afterany:JOBID --wrap='osteoload collect results/shard-* --out results/all'
#
# A task that was killed or ran out of time is submitted again, alone if you like (--array=3), with the same number of shards:
# --resume keeps the cases that are done.
#SBATCH --job-name=osteoload
#SBATCH --cpus-per-task=4
#SBATCH --mem=8G
#SBATCH --time=04:00:00
set -euo pipefail

table=$1
results=$2
shards=$3
shard=${SLURM_ARRAY_TASK_ID:?run by sbatch --array=1-N}

# A case that fails has its reason in the table and must not make Slurm call the task failed: statuses 3, 4 and 5 are answers.
status=0
osteoload cohort "$table" --out "$results/shard-$shard" --shard "$shard/$shards" --resume \
    --threads "${SLURM_CPUS_PER_TASK:-1}" --memory-mib "${SLURM_MEM_PER_NODE:-4096}" || status=$?
case $status in
    0 | 3 | 4 | 5) ;;
    *) exit "$status" ;;
esac
