#!/usr/bin/env bash
# Made by dcrnn-fast launch --scheduler pbs.
# shellcheck disable=SC1091,SC2016,SC2034  # body.sh reads the variables; a $ in a value is itself
#PBS -N city_2
#PBS -q gpu,spare
#PBS -A lab-7
#PBS -l select=2:ncpus=32:mpiprocs=4:ngpus=4:mem=64gb
#PBS -l place=scatter
#PBS -l walltime=60:30:00
#PBS -j oe
#PBS -r y
cd '/a project' || exit 2
slurm=@ROOT@/slurm
. "$slurm/body.sh"
ntasks=8
. "$slurm/pbs.sh"
: "${DCRNN_PYTHON:=@PYTHON@}"
values=
train_job -- --config 'runs/my run.yaml' --epochs 30 --data 'it'"'"'s $HOME `id`.csv' "$@"
