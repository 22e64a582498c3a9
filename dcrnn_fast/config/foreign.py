"""The names that other training programs give to settings and files, and ours: one table for all who are refused.

``python -m dcrnn_fast.config.foreign`` prints it as docs/clusters.md has it.
"""

from collections.abc import Iterable
from typing import NamedTuple

BEGIN, END = "<!-- foreign names: begin -->", "<!-- foreign names: end -->"


class Foreign(NamedTuple):
    """Names of one thing elsewhere.

    Attributes:
        names: with underscores, as flags and keys; a file's as it stands on the disk.
        ours: "section.setting", or "section.setting=value"; empty: there is no such setting.
        words: what differs, or where it is decided.
    """

    names: tuple[str, ...]
    ours: str
    words: str = ""


SETTINGS = (
    Foreign(("lr", "base_lr", "initial_lr"), "training.learning_rate"),
    Foreign(("wd", "l2"), "training.weight_decay"),
    Foreign(("num_epochs", "n_epochs", "max_epochs"), "training.epochs"),
    Foreign(
        ("gradient_accumulation_steps", "accumulation_steps", "accumulate_grad_batches", "grad_accum"),
        "training.accumulate",
        "follows by itself from global_batch_size",
    ),
    Foreign(("effective_batch_size", "total_batch_size", "global_batch"), "training.global_batch_size"),
    Foreign(("per_device_batch_size", "micro_batch_size", "train_batch_size"), "training.batch_size", "per process"),
    Foreign(("use_amp", "amp", "mixed_precision", "dtype"), "training.precision", "bf16, or fp16 on a GPU"),
    Foreign(("fp16",), "training.precision=fp16"),
    Foreign(("bf16",), "training.precision=bf16"),
    Foreign(("no_amp", "fp32"), "training.precision=fp32"),
    Foreign(("use_ema", "ema", "ema_rate"), "training.ema_decay"),
    Foreign(("torch_compile", "use_compile"), "training.compile", "off unless you ask"),
    Foreign(
        ("grad_checkpointing", "activation_checkpointing", "checkpoint_activations", "use_checkpoint"),
        "training.gradient_checkpointing",
    ),
    Foreign(("grad_clip", "max_grad_norm", "gradient_clip_val", "clip"), "training.clip_norm"),
    Foreign(("scheduler", "lr_scheduler", "lr_schedule"), "training.schedule"),
    Foreign(("warmup", "warmup_epochs", "num_warmup_steps"), "training.warmup_steps", "in optimiser steps"),
    Foreign(("gamma", "lr_decay_ratio", "lr_decay"), "training.schedule_factor"),
    Foreign(("lr_milestones",), "training.milestones", "in epochs"),
    Foreign(("lr_scale", "scale_lr", "auto_scale_lr"), "training.lr_scaling=linear"),
    Foreign(("early_stopping_patience", "early_stopping", "early_stop"), "training.patience", "in epochs"),
    Foreign(("use_curriculum_learning", "curriculum"), "training.teacher_forcing", "scheduled, off or on"),
    Foreign(("cl_decay_steps", "teacher_forcing_decay"), "training.sampling_decay"),
    Foreign(("gpu", "gpu_id", "use_gpu", "cuda", "no_cuda", "accelerator"), "training.device", "auto, cpu or cuda"),
    Foreign(("timeout", "nccl_timeout", "ddp_timeout", "init_timeout"), "training.dist_timeout", "in seconds"),
    Foreign(("workers", "n_workers", "dataloader_workers"), "training.num_workers"),
    Foreign(("num_threads", "omp_num_threads"), "training.threads", "of one process"),
    Foreign(("hidden_size", "hidden_dim", "hidden_channels", "rnn_units"), "model.hidden_units"),
    Foreign(("n_layers", "num_rnn_layers", "lstm_layers"), "model.num_layers"),
    Foreign(("input_size", "input_dim", "in_channels"), "", "follows from the data (--variables, --time-of-day)"),
    Foreign(("output_size", "output_dim", "out_channels"), "data.targets", "an output for each target"),
    Foreign(("num_nodes", "n_nodes"), "", "follows from the data"),
    Foreign(("max_diffusion_step", "diffusion_steps", "num_hops"), "graph.hops"),
    Foreign(("filter_type", "adj_type"), "graph.supports"),
    Foreign(("adj", "adj_mx", "adjacency", "graph_pkl_filename"), "graph.graph"),
    Foreign(("data_path", "data_dir", "data_type", "dataset", "data_file"), "data.data", "a name, a file or a folder"),
    Foreign(("seq_len", "input_len", "history", "lookback", "window"), "data.past_steps"),
    Foreign(("horizon", "pred_len", "output_len", "forecast_horizon", "out_len"), "data.future_steps"),
    Foreign(
        ("validation_split", "val_split", "val_ratio", "val_fraction"),
        "data.train_fraction",
        "the validation part is what train_fraction and test_fraction leave",
    ),
    Foreign(("train_samples", "num_train_samples"), "data.max_train_windows"),
    Foreign(("val_samples", "num_val_samples"), "data.max_validation_windows"),
    Foreign(("test_samples", "num_test_samples"), "data.max_test_windows"),
    Foreign(("stage_data", "copy_data", "local_data"), "data.stage"),
    Foreign(("results_dir", "output_dir", "save_dir", "run_dir", "log_dir", "exp_dir"), "output.results"),
    Foreign(("model_dir", "ckpt_dir", "checkpoint_path", "checkpoints_dir"), "output.checkpoint_dir"),
    Foreign(("save_interval", "save_every", "checkpoint_interval", "checkpoint_every"), "output.save_every_epochs"),
    Foreign(("save_steps", "checkpoint_steps"), "output.save_every_steps"),
    Foreign(("log_interval", "print_freq", "log_every_n_steps"), "output.log_every", "in seconds, not in steps"),
    Foreign(("resume_from", "resume_from_checkpoint", "ckpt_path", "load_checkpoint"), "output.resume"),
    Foreign(("save_total_limit", "max_checkpoints"), "output.keep_last"),
    Foreign(("no_wandb",), "watch.wandb=off", "off unless you ask"),
    Foreign(("use_wandb", "log_wandb"), "watch.wandb=online"),
    Foreign(("wandb_offline",), "watch.wandb=offline"),
    Foreign(("wandb_mode",), "watch.wandb", "off, online or offline"),
    Foreign(("wandb_run_name", "run_name", "exp_name"), "watch.wandb_name"),
    Foreign(("project",), "watch.wandb_project"),
    Foreign(("wandb_entity", "entity"), "", "is the variable WANDB_ENTITY of the environment"),
    Foreign(("tensorboard_dir", "tb", "use_tensorboard"), "watch.tensorboard"),
    Foreign(("log_gpu_memory", "gpu_monitor"), "watch.monitor_gpu"),
    Foreign(("cpu_monitor",), "watch.monitor_cpu"),
    Foreign(("profile_training", "profile", "profiler"), "watch.profile_steps"),
    Foreign(
        ("local_rank", "rank", "world_size", "node_rank", "nproc_per_node", "master_addr", "master_port", "dist_url"),
        "",
        "is in each process's environment, from torchrun, srun, mpirun or by hand: leave it out",
    ),
    Foreign(("dist_backend", "backend_ddp", "ddp_backend"), "", "follows from the device: nccl on GPUs, gloo on CPUs"),
    Foreign(("find_unused_parameters", "sync_batchnorm"), "", "is not needed: every weight has a gradient"),
    Foreign(
        ("distributed", "ddp", "data_parallel", "strategy"),
        "",
        "is not needed: several processes are one run by themselves",
    ),
    Foreign(
        (
            *("time", "time_limit", "nodes", "gpus", "num_gpus", "devices", "gres", "ntasks"),
            *("partition", "account", "constraint"),
        ),
        "",
        "is the job's, not the training's: give it to sbatch before the script, or to dcrnn-fast launch",
    ),
    Foreign(("debug", "quick_test"), "", "is a preset here: --config debug"),
)
"""flags and keys; a name of ours stands on no left side"""

SAME = (
    Foreign(
        ("batch_size",), "training.batch_size", "of one process and micro-batch; of a whole step: global_batch_size"
    ),
    Foreign(("epochs", "seed", "optimizer", "weight_decay", "precision", "num_layers", "resume"), "", "the same"),
)
"""names that are ours too"""

FILES = (
    Foreign(("checkpoint_latest.pth", "RUN_latest.pt", "last.ckpt", "latest.pth"), "checkpoints/latest.pt"),
    Foreign(("best_model.pth", "RUN_best.pt", "model_best.pth", "best.pth"), "checkpoints/best.pt"),
    Foreign(("checkpoint_epoch_10.pth",), "checkpoints/epoch_0010.pt"),
    Foreign(("slurm_logs", "train_rank0.log"), "", "the job's output: `--output` of the batch script"),
    Foreign(("experiment_summary.txt",), "report.txt", "and `dcrnn-fast compare` for several runs"),
)
"""files of a run -> ours, in its --results folder"""

COMMANDS = (
    Foreign(("fit", "pretrain"), "train"),
    Foreign(("test", "validate", "eval"), "evaluate"),
    Foreign(("predict", "inference", "infer"), "forecast"),
    Foreign(("generate", "preprocess"), "prepare"),
    Foreign(("init_cluster", "setup_cluster"), "launch --init-site"),
    Foreign(("slurm", "submit"), "launch"),
)
"""commands -> ours"""

_BY_NAME = {name: one for one in SETTINGS for name in one.names}


def as_flag(word: str, known: list[str]) -> str | None:
    """What another program's flag is here, in a sentence without an end; None: it is none, or this command has no such.

    Args:
        word: as it was given: ``--lr``; known: the command's flags, without hyphens before them.
    """
    one = _named(word.removeprefix("--"))
    if one is None or not one.ours:
        return f"{word} {one.words}" if one is not None and "epochs" in known else None  # of a command that trains
    setting, _, value = one.ours.partition("=")
    flag = setting.rpartition(".")[2].replace("_", "-")
    return f"{word} is {f'--{flag} {value}'.rstrip()} here{_more(one)}" if flag in known else None


def as_key(key: str) -> str | None:
    """What a key of another program's configuration is here, in a sentence without an end; None: it is none."""
    one = _named(key)
    if one is None or not one.ours:
        return None if one is None else f"{key} {one.words}"
    setting, _, value = one.ours.partition("=")
    return f"{key} is {setting}{value and f': {value}'} here{_more(one)}"


def as_file(name: str) -> str | None:
    """The place here, in the results folder, of a checkpoint that another program names so; None: it is none."""
    return next((one.ours for one in FILES if name in one.names and not one.ours.endswith(name)), None)


def as_command(word: str) -> str | None:
    """The command here of another program's; None: it is none."""
    return next((one.ours for one in COMMANDS if word.replace("-", "_") in one.names), None)


def markdown() -> str:
    """The table of docs/clusters.md, between its marks."""
    rows = [BEGIN, "| elsewhere | here | |", "|---|---|---|"]
    for one in (*SETTINGS, *SAME):
        setting, _, value = one.ours.partition("=")
        flag = f"`--{setting.rpartition('.')[2].replace('_', '-')}{value and f' {value}'}`" if one.ours else ""
        rows.append(f"| {_coded(one.names)} | {flag} | {one.words} |")
    rows += [f"| {_coded(one.names)} | {_coded([one.ours] if one.ours else [])} | {one.words} |" for one in FILES]
    rows += [f"| {_coded(one.names)} | `dcrnn-fast {one.ours}` | |" for one in COMMANDS]
    return "\n".join([*rows, END, ""])


def _named(name: str) -> Foreign | None:
    return _BY_NAME.get(name.replace("-", "_").lower())


def _more(one: Foreign) -> str:
    return f" ({one.words})" if one.words else ""


def _coded(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


if __name__ == "__main__":
    print(markdown(), end="")
