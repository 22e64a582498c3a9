#!/usr/bin/env bash
# Made by dcrnn-fast launch --scheduler slurm.
# shellcheck disable=SC1091,SC2016,SC2034  # body.sh reads the variables; a $ in a value is itself
#SBATCH --job-name=city_2
#SBATCH --output=%x_%j.out
#SBATCH --partition=gpu,spare
#SBATCH --account=lab-7
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --mem=64G
#SBATCH --time=2-12:30
#SBATCH --requeue --open-mode=append --signal=B:USR1@120
cd '/a project' || exit 2
slurm=@ROOT@/slurm
. "$slurm/body.sh"
: "${DCRNN_PYTHON:=@PYTHON@}"
values=
train_job -- --config 'runs/my run.yaml' --epochs 30 --data 'it'"'"'s $HOME `id`.csv' "$@"
