#!/bin/bash
# Ends the sweep that a Ray job runs in this container as SIGTERM does, and waits until it has closed its runs:
#   end_sweep.sh [SECONDS]
# kuberay.yaml calls it before the pod of the head is taken away: neither KubeRay nor Kueue stops the job that they
# suspend, and Ray kills it where its own processes end first. SECONDS go by before: as long as the trainings on the
# workers, whose pods are taken away in the same moment, have for their checkpoints.
set -euo pipefail
shopt -s nullglob

# Python processes that run one of the entries; neither a shell that starts one nor what Ray starts for it.
list_sweeps() {
    local file word words
    for file in /proc/[0-9]*/cmdline; do
        mapfile -d '' -t words 2>/dev/null <"$file" || continue
        [[ ${words[0]-} == *python* ]] || continue
        for word in "${words[@]:1}"; do
            if [[ $word == @(?(*/)orchestration/@(sweep|train).py|?(*/)fcos-@(sweep|train)) ]]; then
                file="${file#/proc/}"
                echo "${file%/cmdline}"
                break
            fi
        done
    done
}

is_running() {
    local stat
    stat="$(cat "/proc/$1/stat" 2>/dev/null)" && [[ $stat != *") Z "* ]]
}

sleep "${1:-0}"
mapfile -t sweeps < <(list_sweeps)
for pid in "${sweeps[@]}"; do
    kill -TERM "$pid" || true
done
for pid in "${sweeps[@]}"; do
    while is_running "$pid"; do sleep 0.2; done
done
