#!/usr/bin/env bash
{{directives}}

# Written by launch/submit.py from launch/templates/slurm.sh; the same command writes it anew.

launch={{launch}}
retries={{retries}}
id=$SLURM_JOB_ID
name=${SLURM_ARRAY_JOB_ID:-$id}${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}

case ${SLURM_ARRAY_TASK_ID:-0} in
{{cases}}
*) echo "there is no run ${SLURM_ARRAY_TASK_ID:-0} in this script" >&2; exit 2 ;;
esac

state=$launch/state/$task.json
mkdir -p "$launch/state" {{logs}}
exec >>{{logs}}/"$task.log" 2>&1
cd {{directory}} || exit 1
export PYTHONPATH={{root}}${PYTHONPATH:+:$PYTHONPATH}
{{setup}}

failures=$(sed -n 's/.*"failures": \([0-9]*\).*/\1/p' "$state" 2>/dev/null)
failures=${failures:-0}
note() {
    printf '{"code": %s, "job": "%s", "failures": %d, "time": %d}\n' "$1" "$name" "$failures" "$(date +%s)" >"$state.partial"
    mv "$state.partial" "$state"
}

# Its turn comes again, with the same command, which goes on from the last checkpoint. Not so where the job was cancelled.
again() {
    [ "$(squeue --noheader --jobs="$id" --format=%T 2>/dev/null)" = RUNNING ] || return
    echo "== job $name is put back into the queue: $1"
    trap '' TERM # Slurm ends what runs here
    scontrol requeue "$id" || echo "== it could not be: launch/submit.py --action=resume goes on"
}

# Slurm sends USR1 some time before the time limit. The run is asked to save and end; should it not, it goes on all the same
# from its last checkpoint.
before_the_limit() {
    interrupted=yes
    echo "== the time limit is near"
    scancel --signal=TERM "$id"
    (sleep {{patience}} && again "its time is over") &
}
trap before_the_limit USR1
# Preempted or cancelled: Slurm asks the run itself to save and end, and that is waited for.
trap 'interrupted=yes' TERM

note null
echo "== $(date -u +%Y-%m-%dT%H:%M:%SZ) job $name on $SLURM_JOB_NODELIST, start $((${SLURM_RESTART_COUNT:-0} + 1))"
# A task that ends before the others is no reason to end those: they may be writing a checkpoint. Where one dies, the others
# notice it themselves.
srun --kill-on-bad-exit=0 --wait=0 {{srun}} "${command[@]}" &
pid=$!
code=127
while :; do
    interrupted=
    wait "$pid"
    ended=$?
    # 127 after the first time: it had been waited for already.
    if [ "$ended" != 127 ] || [ "$code" = 127 ]; then code=$ended; fi
    [ -n "$interrupted" ] || break
done
echo "== $(date -u +%Y-%m-%dT%H:%M:%SZ) job $name ended with code $code"

case $code in
143)
    note "$code"
    again "it was asked to stop, and saved"
    ;;
75 | 134 | 135 | 137 | 139) # of several processes those that lost another one end with 75
    failures=$((failures + 1))
    note "$code"
    if [ "$failures" -le "$retries" ]; then
        again "a process was killed or crashed (failure $failures; it is given up after $retries)"
    fi
    ;;
*) note "$code" ;;
esac
[ -s "$launch/slurm-$id.out" ] || rm -f "$launch/slurm-$id.out"
exit "$code"
