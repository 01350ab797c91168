#!/bin/bash
# A sweep on nodes that Slurm hands out: sbatch orchestration/deploy/slurm.sh +experiment=ablation_centerness ...
# Ray starts on every node for the time of the job; the words after the file are the sweep's own (docs/clusters.md).
# The same line again goes on where time ran out.
#SBATCH --job-name=fcos-lab
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=32
#SBATCH --gpus-per-node=8
#SBATCH --mem=0
#SBATCH --time=24:00:00
# Ray stops every Ray process of its user on a node when a job ends: two jobs on one node would end each other.
#SBATCH --exclusive
# Two minutes before the end the sweep gets SIGTERM and closes its runs.
#SBATCH --signal=TERM@120
#SBATCH --output=slurm-%j.log
set -euo pipefail

# The checkout, on storage that all nodes share; activate the environment here where it is another one.
cd "${SLURM_SUBMIT_DIR:?to be started with sbatch}"
source .venv/bin/activate

# A token of this job alone, in the environment of its processes and in no file.
export RAY_AUTH_MODE=token
RAY_AUTH_TOKEN="$(python -c 'import secrets; print(secrets.token_hex(32))')"
export RAY_AUTH_TOKEN
export RAY_USAGE_STATS_ENABLED=0
# Nodes of a large machine need longer than the default half minute.
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300

# The first line; a pipe to head would now and then end the script by SIGPIPE.
nodes="$(scontrol show hostnames "$SLURM_JOB_NODELIST")"
head_node="${nodes%%$'\n'*}"
# Below 10002, where Ray's range of worker ports begins.
port=$((6379 + SLURM_JOB_ID % 1000))

# srun no longer takes the processors over from sbatch by itself.
srun --cpus-per-task="$SLURM_CPUS_PER_TASK" ray symmetric-run \
    --address "$head_node:$port" \
    --min-nodes "$SLURM_JOB_NUM_NODES" \
    --num-cpus "$SLURM_CPUS_PER_TASK" \
    --num-gpus "${SLURM_GPUS_ON_NODE:-0}" \
    -- python -u orchestration/sweep.py cluster=many_nodes "$@"
