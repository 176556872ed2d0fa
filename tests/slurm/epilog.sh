#!/bin/sh
# Root, on a node, when a job has ended there (also before it is queued again): SIGKILL to all that still carries the
# job's id. Without cgroups a task that left its process group outlives its job, and two attempts of one training
# would write at once. The node's name is compared, too: the virtual nodes share one machine, and a node that comes
# back must not end the attempt that another has started since.
set -u
for round in 1 2 3; do
    found=
    for environ in $(grep -lszx "SLURM_JOB_ID=$SLURM_JOB_ID" /proc/[0-9]*/environ); do
        pid=${environ#/proc/}
        pid=${pid%/environ}
        grep -qszx "SLURMD_NODENAME=$SLURMD_NODENAME" "$environ" || continue
        # this script and what it calls
        grep -qsz '^SLURM_SCRIPT_CONTEXT=' "$environ" && continue
        kill -9 "$pid" 2>/dev/null && found=yes
    done
    [ -n "$found" ] || break
done
exit 0
