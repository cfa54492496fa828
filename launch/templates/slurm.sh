#!/usr/bin/env bash
{{directives}}

# Written by launch/submit.py from launch/templates/slurm.sh; the same command overwrites it.

launch={{launch}}
retries={{retries}}
id=$SLURM_JOB_ID
name=${SLURM_ARRAY_JOB_ID:-$id}${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}

case ${SLURM_ARRAY_TASK_ID:-0} in
{{cases}}
*) echo "this script has no task ${SLURM_ARRAY_TASK_ID:-0}" >&2; exit 2 ;;
esac

state=$launch/state/$task.json
mkdir -p "$launch/state" {{logs}}
exec >>{{logs}}/"$task.log" 2>&1
cd {{directory}} || exit 1
export PYTHONPATH={{root}}${PYTHONPATH:+:$PYTHONPATH}
{{setup}}

failures=$(sed -n 's/.*"failures": \([0-9]*\).*/\1/p' "$state" 2>/dev/null)
failures=${failures:-0}
write_state() {
    printf '{"code": %s, "job": "%s", "failures": %d, "time": %d}\n' "$1" "$name" "$failures" "$(date +%s)" >"$state.partial"
    mv "$state.partial" "$state"
}

# Puts the job back into the queue, unless it was canceled. Its command then resumes from the last checkpoint.
requeue() {
    [ "$(squeue --noheader --jobs="$id" --format=%T 2>/dev/null)" = RUNNING ] || return
    echo "== job $name is put back into the queue: $1"
    trap '' TERM # Slurm ends the processes of the job
    scontrol requeue "$id" || echo "== requeuing failed; resume the run with launch/submit.py --action=resume"
}

# Slurm sends USR1 some time before the time limit. The run is asked to save and end; if it does not end in time, the job is
# requeued all the same.
before_the_limit() {
    interrupted=yes
    echo "== the time limit is near"
    scancel --signal=TERM "$id"
    (sleep {{patience}} && requeue "the time limit is reached") &
}
trap before_the_limit USR1
# When the job is preempted or canceled, Slurm itself asks the run to save and end; this script waits for it.
trap 'interrupted=yes' TERM

write_state null
echo "== $(date -u +%Y-%m-%dT%H:%M:%SZ) job $name on $SLURM_JOB_NODELIST, start $((${SLURM_RESTART_COUNT:-0} + 1))"
# srun must not end the other processes when one ends, since they may be writing a checkpoint. They detect a dead process
# themselves.
srun --kill-on-bad-exit=0 --wait=0 {{srun}} "${command[@]}" &
pid=$!
code=127
while :; do
    interrupted=
    wait "$pid"
    ended=$?
    # 127 after the first time: the process had already been waited for.
    if [ "$ended" != 127 ] || [ "$code" = 127 ]; then code=$ended; fi
    [ -n "$interrupted" ] || break
done
echo "== $(date -u +%Y-%m-%dT%H:%M:%SZ) job $name ended with code $code"

case $code in
143)
    write_state "$code"
    requeue "it was stopped and saved"
    ;;
75 | 134 | 135 | 137 | 139) # 75: lost another process of the run
    failures=$((failures + 1))
    write_state "$code"
    if [ "$failures" -le "$retries" ]; then
        requeue "a process was killed or crashed (failure $failures; at most $retries restarts)"
    fi
    ;;
*) write_state "$code" ;;
esac
[ -s "$launch/slurm-$id.out" ] || rm -f "$launch/slurm-$id.out"
exit "$code"
