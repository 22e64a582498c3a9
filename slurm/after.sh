# shellcheck shell=bash
# What a training job does when its trainer has ended: sourced by body.sh.
# shellcheck disable=SC2154  # body.sh sets job_id, nodes, restarts, results, ended and python

# An srun that was killed leaves its tasks behind, which would train beside the next start.
end_tasks() {
    local tries
    scancel "$SLURM_JOB_ID.0" 2>/dev/null
    for ((tries = 0; tries < 120; tries++)); do
        [ -n "$(squeue --noheader --steps="$SLURM_JOB_ID.0" 2>/dev/null)" ] || break
        sleep 1
    done
}

# What a killed trainer has left of --stage on the nodes' own disks. A job that is being cancelled starts no more steps.
remove_staged() {
    local staged
    # shellcheck disable=SC2016
    local program='for root in "$SLURM_TMPDIR" "$TMPDIR" /tmp; do rm -rf -- "${root:-/tmp}/$0" "${root:-/tmp}/$0"-*; done'
    staged=dcrnn_fast-stage-$(id -u)-$job_id
    if [ -z "$ended" ] && [ "$nodes" -gt 1 ]; then
        SRUN_CPUS_PER_TASK=1 srun --nodes="$nodes" --ntasks="$nodes" --ntasks-per-node=1 bash -c "$program" "$staged"
    fi
    bash -c "$program" "$staged"
}

write_summary() {
    local file=$results/sacct_summary.txt
    local columns=JobID%20,JobName%20,State%20,ExitCode,Elapsed,TotalCPU,MaxRSS,AllocTRES%60
    sleep 2 # a step's row takes a moment to arrive
    {
        if sacct --duplicates --jobs="$SLURM_JOB_ID" --format="$columns" 2>&1; then
            sacct --noheader --parsable2 --jobs="$SLURM_JOB_ID" --format=JobIDRaw,CPUTimeRAW,TotalCPU,ReqMem,MaxRSS |
                "${python[@]}" -I "$slurm/efficiency.py"
        else
            echo "this cluster keeps no account that sacct could show"
        fi
    } >"$file" || echo "cannot write $file" >&2
}

# Whether Slurm ended the job because its time was over, and not somebody by scancel.
out_of_time() {
    scontrol --oneliner show job "$SLURM_JOB_ID" 2>/dev/null | grep -q " Reason=TimeLimit "
}

# Whether Slurm wants the nodes for another job: it then asks the steps to end, and not this shell.
is_preempted() {
    scontrol --oneliner show job "$SLURM_JOB_ID" 2>/dev/null | grep -q " PreemptTime=[0-9]"
}

# Prints why it did not work, if it did not.
queue_again() {
    scontrol requeue "$SLURM_JOB_ID"
}

requeue() {
    local most=${MAX_RESTARTS:-20} again said
    again="to continue, submit the same with --results $(quoted "$results")"
    if [ -n "$ended" ] && ! out_of_time; then
        echo "$1; the job was cancelled, and is not queued again; $again"
    elif [ "$restarts" -ge "$most" ]; then
        echo "$1; it is not queued again after $restarts restarts (MAX_RESTARTS); $again"
    elif said=$(queue_again 2>&1); then
        echo "$1; queued again, restart $((restarts + 1)) of at most $most"
    else
        echo "$1; it cannot be queued again ($said); $again"
    fi
}
