#!/bin/sh
# check.sh: the self-check of an image: prints the torch of its base and the one that is there, which must be the same.
set -eu
base=$(cat /opt/dcrnn_fast/torch_of_the_base)
now=$(python3 -c 'from importlib.metadata import version; print(version("torch"))')
echo "torch of the base image: $base"
echo "torch in this image:     $now"
if [ "$base" != "$now" ]; then
  echo "check.sh: torch was replaced" >&2
  exit 1
fi
cd / # not into a checkout, whose package would be checked instead
exec python3 -m dcrnn_fast.doctor
