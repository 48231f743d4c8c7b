"""What Hugging Face's example scripts call things, in our words: one table, so that their sweeps run here.

`run_glue.py` of any year (its arguments and `TrainingArguments`) in; our settings, and a line for each thing left out.
"""

from collections.abc import Callable, Mapping
from typing import Any

from featherlight.errors import UserError, pick

_TASKS = {"sts-b": "stsb", "sst-2": "sst2", "mnli-mm": "mnli"}  # as the GLUE folders spell them
_SCHEDULES = {"linear": "linear", "cosine": "cosine", "constant": "constant", "constant_with_warmup": "constant"}


def _whole(value: Any) -> int:
    """3.0 -> 3; a UserError for parts of epochs."""
    if float(value) != int(float(value)):
        raise UserError(f"epochs are whole numbers, and {value} is none.")
    return int(float(value))


def _task(value: Any) -> str:
    """RTE -> rte, STS-B -> stsb."""
    return _TASKS.get(str(value).lower(), str(value).lower())


_TRAIN_BATCHES = ("per_device_train_batch_size", "per_gpu_train_batch_size", "train_batch_size")
# Their name -> ours.
TRANSLATED: Mapping[str, str] = {
    "model_name_or_path": "model", "model_revision": "revision",
    **dict.fromkeys(("task_name", "dataset_name", "train_file"), "task"), "validation_file": "dev",
    **dict.fromkeys(_TRAIN_BATCHES, "batch_size"), **dict.fromkeys(("max_seq_length", "max_length"), "max_length"),
    "num_train_epochs": "epochs", "max_train_samples": "examples", "max_grad_norm": "clip", "adam_epsilon": "epsilon",
    "warmup_ratio": "warmup", "lr_scheduler_type": "schedule", "bf16": "precision",
    "seeds": "seed",  # as in our recipes
}  # fmt: skip
# The same for the stage `time`, where the forked trainer of the thesis on timing repeated a training.
TIMED: Mapping[str, str] = {
    "finetuning_iters": "repeats", "pad_to_max_length": "pad",
    **dict.fromkeys(("max_seq_length", "max_length"), "length"),
    **dict.fromkeys((*_TRAIN_BATCHES, "per_device_eval_batch_size", "per_gpu_eval_batch_size"), "batch"),
}  # fmt: skip
# What becomes of a value that is spelled otherwise here.
_VALUES: Mapping[str, Callable[[Any], Any]] = {
    "task_name": _task,
    "dataset_name": _task,
    "num_train_epochs": _whole,
    "lr_scheduler_type": lambda value: pick("schedule", str(value), _SCHEDULES),
    "bf16": lambda value: "bf16" if value else "fp32",
    "pad_to_max_length": lambda value: "max" if value else "longest",
}
TIMED_DROPPED = {name: "an epoch is timed at a time; finetuning_iters, or repeats, says how often"
                 for name in ("num_train_epochs", "epochs")}  # fmt: skip
# Where they put and say things, and what cannot change a result here: left out, with a line each.
DROPPED: Mapping[str, str] = {
    **dict.fromkeys(("output_dir", "overwrite_output_dir", "cache_dir", "logging_dir", "run_name",
                     "resume_from_checkpoint"), "results have addresses in the store"),
    "data_dir": "name the root folder of local data sets with --data",
    **dict.fromkeys(("logging_steps", "logging_strategy", "logging_first_step", "log_level", "report_to",
                     "disable_tqdm"), "every step's loss is kept in the record"),
    **dict.fromkeys(("save_steps", "save_strategy", "save_total_limit", "save_only_model", "save_safetensors"),
                    "checkpoints are written by the clock and removed at the end"),
    **dict.fromkeys(("eval_steps", "eval_strategy", "evaluation_strategy", "evaluate_during_training",
                     "load_best_model_at_end", "metric_for_best_model", "greater_is_better"),
                    "the best epoch is chosen on the select split"),
    **dict.fromkeys(("do_train", "do_eval", "do_predict"), "every stage trains, chooses and scores"),
    **dict.fromkeys(("per_device_eval_batch_size", "per_gpu_eval_batch_size", "eval_accumulation_steps",
                     "dataloader_num_workers", "dataloader_pin_memory", "pad_to_max_length", "group_by_length",
                     "overwrite_cache", "use_fast_tokenizer", "preprocessing_num_workers", "no_cuda", "use_cpu"),
                    "it changes no result here"),
}  # fmt: skip
# What is done in one way here: accepted with these values, else an error.
FIXED: Mapping[str, tuple[Any, ...]] = {
    "gradient_accumulation_steps": (1,),
    "warmup_steps": (0,),
    "max_steps": (-1,),
    "fp16": (False,),
    "adam_beta1": (0.9,),
    "adam_beta2": (0.999,),
}


def translate(name: str, values: list[Any], settings: Mapping[str, Any], *, timed: bool) -> tuple[str, list[Any]] | str:
    """(our name, our values); or why the setting is left out, as a sentence.

    settings: those of the stage, which go first. Raises UserError for what cannot be translated.
    """
    own = name.replace("-", "_")
    if own in settings and not (timed and own in TIMED):
        return own, values
    table = {**TRANSLATED, **TIMED} if timed else TRANSLATED
    if timed and own in TIMED_DROPPED:
        return TIMED_DROPPED[own]
    if own in table:
        if table[own] not in settings:
            raise UserError(f"{name} means {table[own]}, which this stage does not have. Leave it out.")
        return table[own], [_VALUES[own](value) for value in values] if own in _VALUES else values
    if own in DROPPED:
        return DROPPED[own]
    if own in FIXED:
        if any(value not in FIXED[own] for value in values):
            raise UserError(f"{name}: only {FIXED[own][0]} is supported.")
        return "so it is done here"
    raise KeyError(name)
