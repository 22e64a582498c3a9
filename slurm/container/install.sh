#!/bin/sh
# install.sh SOURCES COMMIT: installs the package in an image, against the torch that the image has, and never another.
#
# Run while an image is built, by dcrnn_fast.def and by Dockerfile. Fails if the image has no torch, if its torch is too
# old for the package, or if anything that the package requires would replace it.
set -eu
sources=$1 commit=$2
facts=/opt/dcrnn_fast
mkdir -p "$facts"
rm -f "$sources/slurm/site.env" # of the cluster where the image is built
torch_version() { python3 -c 'from importlib.metadata import version; print(version("torch"))'; }

if ! before=$(torch_version 2> /dev/null); then
  echo "install.sh: the base image has no torch for python3: take one that has, such as NVIDIA's for PyTorch" >&2
  exit 1
fi
# The version as pip knows it: an image's torch.__version__ may be spelt otherwise.
echo "torch==$before" > "$facts/constraint.txt"
echo "$before" > "$facts/torch_of_the_base"
export PIP_BREAK_SYSTEM_PACKAGES=1 PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
# An image's own constraints, which PIP_CONSTRAINT names, hold too.
set -- -c "$facts/constraint.txt"
[ -z "${PIP_CONSTRAINT:-}" ] || set -- "$@" -c "$PIP_CONSTRAINT"
python3 -c 'import sys, setuptools; sys.exit(int(setuptools.__version__.split(".")[0]) < 77)' 2> /dev/null ||
  python3 -m pip install "$@" 'setuptools>=77' wheel
# Without isolation: the compiled kernels are built against this torch.
python3 -m pip install "$@" --no-build-isolation "$sources"

after=$(torch_version)
if [ "$after" != "$before" ]; then
  echo "install.sh: the base image has torch $before, and the installation made it $after" >&2
  exit 1
fi
echo "$commit" > "$facts/commit"
rm -rf "$sources/build"
