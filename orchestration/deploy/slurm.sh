#!/bin/bash
# A sweep on nodes that Slurm hands out: sbatch orchestration/deploy/slurm.sh +experiment=ablation_centerness ...
# Ray starts on every node for the time of the job; the words after the file are the sweep's own (docs/clusters.md).
# Where time runs out, a node fails or another job takes the nodes, the job is queued again, and the same line goes on.
#SBATCH --job-name=fcos-lab
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=32
#SBATCH --gpus-per-node=8
#SBATCH --mem=0
#SBATCH --time=24:00:00
# Ray stops every Ray process of its user on a node when a job ends: two jobs on one node would end each other.
#SBATCH --exclusive
# After a failed node or a preemption, also where that is not the cluster's default.
#SBATCH --requeue
# Two minutes before its time is up this script alone gets SIGUSR1.
#SBATCH --signal=B:USR1@120
#SBATCH --output=slurm-%j.log
# What a job prints that was queued again goes on in the same file.
#SBATCH --open-mode=append
set -euo pipefail

# A sweep that never gets on is not queued for ever.
most_restarts=100

# The checkout, on storage that all nodes share; activate the environment here where it is another one.
cd "${SLURM_SUBMIT_DIR:?to be started with sbatch}"
# shellcheck source=/dev/null
source .venv/bin/activate

# A token of this job alone, in the environment of its processes and in no file.
export RAY_AUTH_MODE=token
RAY_AUTH_TOKEN="$(python -c 'import secrets; print(secrets.token_hex(32))')"
export RAY_AUTH_TOKEN
export RAY_USAGE_STATS_ENABLED=0
# Ray holds many files open; srun hands this limit on to the nodes.
ulimit -Sn "$(ulimit -Hn)"
# Nodes of a large machine need longer than the default half minute.
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300

# The first line; a pipe to head would now and then end the script by SIGPIPE. This script runs on that node too.
nodes="$(scontrol show hostnames "$SLURM_JOB_NODELIST")"
head_node="${nodes%%$'\n'*}"
# Below 10002, where Ray's range of worker ports begins.
port=$((6379 + SLURM_JOB_ID % 1000))

# The sweep writes its process id here: it alone gets SIGTERM, and closes its runs. Sent to the whole step, the signal
# would end Ray and its command line under it, which would kill it.
pid_file="$(mktemp)"
trap 'rm -f "$pid_file"' EXIT
time_is_up=""
# shellcheck disable=SC2329 # the trap calls it
end_sweep() {
    time_is_up=yes
    if [[ -s $pid_file ]]; then
        kill -TERM "$(<"$pid_file")" || true
    elif [[ -n ${step-} ]]; then
        kill -TERM "$step" || true
    fi
}
trap end_sweep USR1

# srun no longer takes the processors over from sbatch by itself.
# shellcheck disable=SC2016 # the words of `bash -c` are its own
srun --cpus-per-task="$SLURM_CPUS_PER_TASK" ray symmetric-run \
    --address "$head_node:$port" \
    --min-nodes "$SLURM_JOB_NUM_NODES" \
    --num-cpus "$SLURM_CPUS_PER_TASK" \
    --num-gpus "${SLURM_GPUS_ON_NODE:-0}" \
    -- bash -c 'echo "$$" >"$0" && exec python -u orchestration/sweep.py cluster=many_nodes "$@"' "$pid_file" "$@" &
step=$!
status=0
wait "$step" || status=$?
# The signal ends `wait`, not the step: once more then; 127 says that it had ended before.
if [[ -n $time_is_up && $status -gt 128 ]]; then
    ended=0
    wait "$step" || ended=$?
    [[ $ended -eq 127 ]] || status=$ended
fi

if [[ $status -eq 0 && ! -s $pid_file ]]; then
    echo "Ray did not start, so that no sweep ran" >&2
    exit 1
fi
if [[ -n $time_is_up && $status -ne 0 && ${SLURM_RESTART_COUNT:-0} -lt $most_restarts ]]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
