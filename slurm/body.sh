# shellcheck shell=bash
# The body of every batch script here, and of those that `dcrnn-fast launch` makes: sourced, never run.
#
# The script sets `slurm`, this folder, and calls train_job, one_command or every_task. What holds for the whole cluster comes from
# site.env, values of one job from its environment (sbatch --export=ALL,EPOCHS=5 ...), and flags of the trainer stand
# after the script's name (sbatch slurm/single_gpu.sbatch --epochs 5).

slurm=${slurm:?the folder of body.sh, set by the script that sources it}
# shellcheck disable=SC1091
. "$slurm/after.sh"
MISTAKE=2
STOPPED=85 # what the trainer ends with after it was asked to stop and has saved
KILLED=137

refuse() {
    echo "${SLURM_JOB_NAME:-$0}: error: $*" >&2
    exit "$MISTAKE"
}

# A word as a shell reads it.
quoted() {
    local quote="'\\''"
    case $1 in
    *[!A-Za-z0-9_./+:@%,=-]* | '') echo "'${1//\'/$quote}'" ;;
    *) echo "$1" ;;
    esac
}

# sbatch reads its own options before the script's name only: behind it they would be nobody's.
refuse_sbatch_options() {
    local word name
    for word in "$@"; do
        name=${word%%=*}
        case $name in
        --export | --nodes | --ntasks* | --partition | --account | --time | --mem | --mem-per* | --gres | --gpus* | \
            --cpus-per* | --array | --job-name | --qos | --constraint | --nodelist | --exclusive | --dependency | \
            --begin | --requeue | --no-requeue | --signal | --error | --chdir | --wait | -[NnptAcCJadGwxDQ])
            refuse "$word stands after the script's name, where sbatch does not read it; the right order:" \
                "sbatch $word SCRIPT, then flags of the training"
            ;;
        esac
    done
}

read_site() {
    local site module
    for site in ${DCRNN_SITE:+"$DCRNN_SITE"} "$slurm/site.env" slurm/site.env; do
        [ ! -f "$site" ] || break
        [ -z "${DCRNN_SITE:-}" ] || refuse "DCRNN_SITE names $DCRNN_SITE, which is no file"
    done
    if [ -f "$site" ]; then
        # shellcheck disable=SC1090
        . "$site" || refuse "$site fails; source it in a shell to see where"
    fi
    for module in ${DCRNN_MODULES:-}; do
        # A batch shell is no login shell, and may not know `module`.
        # shellcheck disable=SC1091
        declare -F module >/dev/null || [ ! -r /etc/profile ] || . /etc/profile
        module load "$module" || refuse "module load $module fails; correct DCRNN_MODULES in $site"
    done
    if [ -z "${DCRNN_PYTHON:-}" ]; then
        DCRNN_PYTHON=python3
        [ ! -x .venv/bin/python ] || DCRNN_PYTHON=$PWD/.venv/bin/python
    fi
    # One word; in site.env also an array: DCRNN_PYTHON=(slurm/container/run.sh python)
    python=("${DCRNN_PYTHON[@]}")
}

begin() {
    require_job
    signalled='' asked='' ended=''
    trap on_warning USR1
    trap on_end TERM
    refuse_sbatch_options "$@"
    read_site
    case ${MAX_RESTARTS:-20} in
    *[!0-9]* | ?????*) refuse "MAX_RESTARTS must be a whole number from 0 to 9999, got $MAX_RESTARTS" ;;
    esac
    # Since Slurm 22.05 srun does not inherit this from sbatch.
    [ -z "${SLURM_CPUS_PER_TASK:-}" ] || export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK
}

# Sets what is asked of the scheduler: the job's number and name, its nodes, and how often it was restarted.
require_job() {
    [ -n "${SLURM_JOB_ID:-}" ] || refuse "this is a batch script; submit it: sbatch $0"
    job_id=$SLURM_JOB_ID job_name=$SLURM_JOB_NAME nodes=${SLURM_JOB_NUM_NODES:-1} restarts=${SLURM_RESTART_COUNT:-0}
}

# ---------------------------------------------------------------- signals

# Slurm's warning before the time limit comes to this shell alone (--signal=B:). By the job's number it reaches the
# processes of every step; by a step's number, those of one.
on_warning() {
    signalled=1
    asked=1
    scancel --signal=USR1 "$SLURM_JOB_ID" 2>/dev/null
}

# Of scancel and of the time limit; both end the steps too.
on_end() {
    signalled=1
    ended=1
}

# Sets rc. After a trap, wait returns early; it has forgotten a process that it has reported (127).
wait_for() {
    local got
    rc=127
    while :; do
        signalled=
        wait "$1"
        got=$?
        [ "$got" = 127 ] || rc=$got
        [ -n "$signalled" ] || break
    done
}

# ---------------------------------------------------------------- parts of a training job

# The value of a flag among words, --flag value or --flag=value; the last one counts.
value_of() {
    local flag=$1 value="" word before=""
    shift
    for word in "$@"; do
        [ "$before" != "$flag" ] || value=$word
        case $word in "$flag="*) value=${word#*=} ;; esac
        before=$word
    done
    echo "$value"
}

# Sets `launch`, the words before the trainer's; arguments: a program that each task shall run under.
# Not --kill-on-bad-exit=1, nor a --wait: the others' 85 would kill rank 0 in its last save, and their 0 in the
# evaluation. The ranks notice by themselves that one is gone.
make_launch() {
    local tasks=${SLURM_NTASKS_PER_NODE:-${SLURM_GPUS_ON_NODE:-1}} host port
    launch=(srun --nodes="$nodes" --kill-on-bad-exit=0 --wait=0)
    case ${DCRNN_LAUNCHER:-srun} in
    srun) launch+=(--ntasks="$((nodes * tasks))" --ntasks-per-node="$tasks" "$@" "${python[@]}") ;;
    torchrun)
        host=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
        port=$((15000 + job_id % 15000)) # below those that Linux hands to clients; each job has its own
        [ -z "${SLURM_CPUS_PER_TASK:-}" ] || export SRUN_CPUS_PER_TASK=$((tasks * SLURM_CPUS_PER_TASK))
        launch+=(--ntasks="$nodes" --ntasks-per-node=1 "$@" "${python[@]}" -m torch.distributed.run
            --nnodes="$nodes" --nproc-per-node="$tasks" --max-restarts=0
            --rdzv-backend=c10d --rdzv-endpoint="$host:$port" --rdzv-id="$job_id.$restarts"
            --rdzv-conf="join_timeout=${DCRNN_JOIN_TIMEOUT:-600}"
            --signals-to-handle="SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1" --shutdown-timeout="${DCRNN_SAVE_TIMEOUT:-90}")
        ;;
    *) refuse "DCRNN_LAUNCHER must be srun or torchrun, got $DCRNN_LAUNCHER" ;;
    esac
}

# Sets `wrapped` to the profiler; a report for each task of srun. With --nsys-steps the trainer says when to record.
wrap_in_nsys() {
    command -v nsys >/dev/null || refuse "there is no nsys on the PATH; load its module (DCRNN_MODULES in slurm/site.env)"
    wrapped=(nsys profile --trace="cuda,nvtx,osrt" --force-overwrite=true --output="$results/nsys_%q{SLURM_PROCID}")
    [ -z "$(value_of --nsys-steps "$@")" ] || wrapped+=(--capture-range=cudaProfilerApi --capture-range-end=stop)
}

# Sets `experiment` and `flags` to those of this task of the array: line SLURM_ARRAY_TASK_ID, from 0, of a file whose
# lines are a name and flags. Empty lines and those that begin with # do not count.
read_experiment() {
    local file=$slurm/experiments/$1.txt line lines=()
    [ -f "$file" ] || file=$1
    [ -f "$file" ] || refuse "EXPERIMENTS is $1: neither a file nor one of slurm/experiments/"
    while read -r line || [ -n "$line" ]; do
        case $line in '' | '#'*) ;; *) lines+=("$line") ;; esac
    done <"$file"
    [ "${SLURM_ARRAY_TASK_ID:=0}" -lt "${#lines[@]}" ] ||
        refuse "$file has ${#lines[@]} experiments, and no number $SLURM_ARRAY_TASK_ID; sbatch --array=0-$((${#lines[@]} - 1))"
    read -ra flags <<<"${lines[SLURM_ARRAY_TASK_ID]}"
    experiment=${flags[0]}
    flags=("${flags[@]:1}")
}

# ---------------------------------------------------------------- the kinds of jobs

# train_job DEFAULTS... -- WORDS...: values of the environment stand between the two, so that WORDS win.
train_job() {
    local defaults=() words=() name value before state job task='' checkpoints
    while [ "$1" != -- ]; do
        defaults+=("$1")
        shift
    done
    shift
    begin "$@"
    for name in $values; do
        value=${!name:-}
        [ -z "$value" ] || words+=("--$(tr 'A-Z_' 'a-z-' <<<"$name")" "$value")
    done
    # The built-in city's settings are for its data: a small model, of few of the windows.
    if [ "${defaults[*]:0:2}" = "--config city" ] && [ -n "$(value_of --data "${words[@]}" "$@")" ]; then
        defaults=("${defaults[@]:2}")
    fi
    job=${job_name}_${SLURM_ARRAY_JOB_ID:-$job_id}
    [ -z "${SLURM_ARRAY_TASK_ID:-}" ] || task=/${experiment:-$SLURM_ARRAY_TASK_ID}
    results=$(value_of --results "${defaults[@]}" "$@")
    results=${results:-${RESULTS:-${DCRNN_RESULTS:-results}/$job}}$task
    checkpoints=${DCRNN_CHECKPOINTS:+$DCRNN_CHECKPOINTS/$job$task}
    if [ -f "$results/config.yaml" ]; then # of a run that this one may continue
        checkpoints=$("${python[@]}" "$slurm/run_state.py" "$results" --checkpoints) ||
            refuse "${python[*]} cannot read $results/config.yaml"
    fi
    [ -z "$checkpoints" ] || words+=(--checkpoint-dir "$checkpoints")
    words=("${defaults[@]}" "${words[@]}" --resume auto "$@" --results "$results")
    if [ "$restarts" -gt 0 ]; then # it continues what it has begun, from wherever it began
        words+=(--resume auto)
        # Slurm does not count how often it restarts a job whose node fails.
        [ "$restarts" -le "${MAX_RESTARTS:-20}" ] ||
            refuse "restarted $restarts times, more than MAX_RESTARTS=${MAX_RESTARTS:-20}"
    fi
    before=$("${python[@]}" -I "$slurm/run_state.py" "$results") || refuse "${python[*]} does not run on $(hostname)"
    [ "$under" != nsys ] || wrap_in_nsys "${words[@]}"
    make_launch "${wrapped[@]}"
    mkdir -p "$results" || refuse "the results folder $results cannot be made"
    echo "$(date -u +%FT%TZ), restart $restarts, results in $results:"
    echo "${launch[*]} -m dcrnn_fast.train ${words[*]}"
    if [ -n "$asked$ended" ]; then
        rc=$STOPPED
    else
        "${launch[@]}" -m dcrnn_fast.train "${words[@]}" &
        wait_for $!
        [ "$rc" -lt 128 ] || end_tasks
    fi
    # torchrun ends with 1 whatever its ranks end with.
    if [ "$rc${DCRNN_LAUNCHER:-srun}" = 1torchrun ] && { [ -n "$asked$ended" ] || is_preempted; }; then
        rc=$STOPPED
    fi
    state=$("${python[@]}" -I "$slurm/run_state.py" "$results" "$before" "$rc")
    remove_staged
    write_summary
    case $state in
    finished)
        echo "finished, exit code $rc"
        [ -z "$experiment" ] || echo "to compare: dcrnn-fast compare $(quoted "${results%/*}")/*"
        ;;
    stopped)
        rc=$STOPPED
        requeue "stopped, and everything is saved"
        ;;
    killed)
        [ "$rc" -ge 128 ] || rc=$KILLED
        requeue "killed, exit code $rc"
        ;;
    *)
        [ "$rc" != 0 ] || rc=1
        echo "$state, exit code $rc; the cause stands above, and a restart would not remove it"
        ;;
    esac
    exit "$rc"
}

# one_command MODULE WORDS...: a single process of this package, such as dcrnn_fast.prepare.
one_command() {
    local module=$1
    shift
    begin "$@"
    trap - USR1 TERM
    echo "${python[*]} -m $module $*"
    exec srun --nodes=1 --ntasks=1 "${python[@]}" -m "$module" "$@"
}

# every_task MODULE WORDS...: a module of this package, started once for each task of the job.
every_task() {
    local module=$1
    shift
    begin "$@"
    trap - USR1 TERM
    make_launch
    echo "${launch[*]} -m $module $*"
    exec "${launch[@]}" -m "$module" "$@"
}

# A script may change these before it calls train_job.
under='' experiment='' wrapped=()
values="CONFIG DATA GRAPH EPOCHS BATCH_SIZE LEARNING_RATE PRECISION SEED"
