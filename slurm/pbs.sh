# shellcheck shell=bash
# What PBS does otherwise than Slurm: a script that `dcrnn-fast launch --scheduler pbs` makes sources this after body.sh.
#
# It has run under no PBS server, only where Slurm reads the #PBS lines.
# shellcheck disable=SC2034,SC2154  # body.sh uses, and sets, what this file does not

require_job() {
    job_id=${PBS_JOBID:-${SLURM_JOB_ID:-}}
    [ -n "$job_id" ] || refuse "this is a batch script; submit it: qsub $0"
    job_id=${job_id%%.*} job_name=${PBS_JOBNAME:-${SLURM_JOB_NAME:-job}}
    nodes=1 restarts=${DCRNN_RESTARTS:-0}
    [ ! -f "${PBS_NODEFILE:-}" ] || nodes=$(sort -u "$PBS_NODEFILE" | wc -l)
}

# PBS sends no warning: SIGTERM comes to all processes at the end of the time, a few seconds before SIGKILL.
on_warning() {
    signalled=1
}

# A killed mpirun takes its tasks along.
end_tasks() {
    :
}

# mpirun starts the tasks, on the nodes that PBS names in a file.
make_launch() {
    [ "${DCRNN_LAUNCHER:-mpirun}" = mpirun ] || refuse "DCRNN_LAUNCHER must be mpirun under PBS, got $DCRNN_LAUNCHER"
    launch=("${DCRNN_MPIRUN:-mpirun}" -n "$ntasks")
    [ ! -f "${PBS_NODEFILE:-}" ] || launch+=(--hostfile "$PBS_NODEFILE")
    launch+=("$@" "${python[@]}")
}

# A job that was deleted gets SIGTERM as one whose time is over; this shell cannot tell, and leaves it to the user.
out_of_time() {
    false
}

# qrerun is for operators: the script's copy is submitted as a new job, which continues in the same folder.
queue_again() {
    cp "$0" "$results/job.pbs" || return
    export DCRNN_RESTARTS=$((restarts + 1)) RESULTS=$results # a list of values would end at a comma in one
    qsub -v DCRNN_RESTARTS,RESULTS "$results/job.pbs"
}

remove_staged() {
    rm -rf -- "${TMPDIR:-/tmp}/dcrnn_fast-stage-$(id -u)-${job_id}_"*
}

write_summary() {
    command -v qstat >/dev/null && qstat -f "$job_id" >"$results/qstat_summary.txt" 2>&1
}

ntasks=${ntasks:?the number of processes, set by the script}
