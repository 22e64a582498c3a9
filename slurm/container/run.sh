#!/usr/bin/env bash
# The package in a container, with Apptainer or Singularity:
#   run.sh build [--force] [FLAGS of apptainer build]   makes the image, unless it is there
#   run.sh python -m dcrnn_fast.train --data ...        Python in it; likewise any other program
#   run.sh shell                                        a shell in it
#   run.sh test                                         its self-check
#
# DCRNN_IMAGE    the image, a file or a folder (--sandbox); otherwise dcrnn_fast.sif in the repository's root
# DCRNN_DATA, DCRNN_RESULTS   folders that the container sees, beside this repository and the current folder
# DCRNN_RUNTIME  apptainer or singularity; otherwise the first that is on the PATH
#
# Inside, the package is the one that the image's labels name, also in a checkout. The exit code is the program's, and
# signals reach it: this script becomes the container's program. Under Slurm: srun slurm/container/run.sh python ...
set -euo pipefail
root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../.." && pwd)
image=${DCRNN_IMAGE:-$root/dcrnn_fast.sif}
MISTAKE=2

refuse() {
  echo "run.sh: error: $*" >&2
  exit "$MISTAKE"
}

build() {
  local force=
  if [ "${1:-}" = --force ]; then
    force=1
    shift
  fi
  if [ -e "$image" ] && [ -z "$force" ]; then
    echo "run.sh: $image is there already: build --force makes it anew" >&2
    exit 0
  fi
  local commit
  new=$image.new-$$ # of the whole script: the trap needs it
  commit=$(git -C "$root" rev-parse HEAD 2> /dev/null || echo unknown)
  [ -z "$(git -C "$root" status --porcelain 2> /dev/null)" ] || commit=$commit-changed
  trap 'rm -rf "$new"' EXIT
  (cd "$root" && "$runtime" build --build-arg "COMMIT=$commit" "$@" "$new" slurm/container/dcrnn_fast.def)
  rm -rf "$image" # a folder cannot be replaced by a rename
  mv "$new" "$image"
  echo "run.sh: built $image"
}

runtime=${DCRNN_RUNTIME:-}
if [ -z "$runtime" ]; then
  for runtime in apptainer singularity ''; do command -v "$runtime" > /dev/null && break; done
fi
command -v "${runtime:-none}" > /dev/null ||
  refuse "${DCRNN_RUNTIME:-neither apptainer nor singularity}: not on the PATH: load its module, or install it"

[ $# -gt 0 ] || refuse "what? build, shell, test, or a program such as python -m dcrnn_fast.train ...; the script's first lines say more"
if [ "$1" = build ]; then
  shift
  build "$@"
  exit
fi
[ -e "$image" ] || refuse "there is no image $image: run.sh build makes it, or DCRNN_IMAGE names another"

flags=(--bind "$root" --pwd "$PWD")
[ "$PWD" = "$root" ] || flags+=(--bind "$PWD")
for name in DCRNN_DATA DCRNN_RESULTS; do
  folder=${!name:-}
  [ -n "$folder" ] || continue
  [ "$name" = DCRNN_DATA ] || mkdir -p "$folder" || refuse "$name=$folder cannot be made"
  [ -d "$folder" ] || refuse "$name=$folder is no folder"
  flags+=(--bind "$(cd "$folder" && pwd)")
done
# --nv where there is no GPU only prints a warning; but it would be printed by each rank.
if command -v nvidia-smi > /dev/null && nvidia-smi -L > /dev/null 2>&1; then flags+=(--nv); fi
# The image's own packages, and no others: of this machine's PYTHONPATH, of ~/.local, of a checkout that is entered.
unset PYTHONPATH PYTHONHOME
export APPTAINERENV_PYTHONSAFEPATH=1 SINGULARITYENV_PYTHONSAFEPATH=1
export APPTAINERENV_PYTHONNOUSERSITE=1 SINGULARITYENV_PYTHONNOUSERSITE=1

case $1 in
shell) exec "$runtime" shell "${flags[@]}" "$image" ;;
test) exec "$runtime" exec "${flags[@]}" "$image" sh /opt/dcrnn_fast/sources/slurm/container/check.sh ;;
python) shift && exec "$runtime" exec "${flags[@]}" "$image" python3 "$@" ;;
*) exec "$runtime" exec "${flags[@]}" "$image" "$@" ;;
esac
