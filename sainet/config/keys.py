"""Finding the key that a user means: full and short names, names from other tools, and near misses."""

import difflib
import re
from dataclasses import dataclass
from functools import cache

from sainet.config.schema import PRESET_SECTIONS, PROFILE_SECTIONS, known_keys

_STAGES = ("stage1.", "stage2.")
_VARIABLE = re.compile(r"env\.[A-Za-z_][A-Za-z0-9_]*")
_NOT_SETTINGS = ("reference.", "hardware.")
"""Sections that describe rather than set, so their keys have no short names."""


@dataclass(frozen=True)
class Foreign:
    """A key of another tool, or of the users' own documents, and what to write here."""

    key: str | None
    advice: str


FOREIGN: dict[str, Foreign] = {
    "batch_size": Foreign("train.batch", "`train.batch` counts the images of all GPUs together"),
    "num_workers": Foreign("loader.workers", "`loader.workers`, per GPU"),
    "precision": Foreign("train.amp", "`train.amp`: 16-mixed is fp16, bf16-mixed is bf16, 32 is fp32"),
    "half": Foreign("train.amp", "`train.amp: true` trains in fp16; half is for inference and would train nothing"),
    "amp_dtype": Foreign("train.amp", "`train.amp`: fp16, bf16 or fp32"),
    "noval": Foreign(None, "leave it out: every epoch is validated, or there would be no best.pt and no patience"),
    "val": Foreign(None, "leave it out: every epoch is validated, or there would be no best.pt and no patience"),
    "ddp": Foreign("train.device", "name the GPUs in `train.device`, e.g. 0,1: more than one means DDP"),
    "strategy": Foreign("train.device", "name the GPUs in `train.device`, e.g. 0,1: more than one means DDP"),
    "devices": Foreign("train.device", "`train.device`, e.g. 0 or 0,1"),
    "gpus": Foreign("train.device", "`train.device`, e.g. 0 or 0,1"),
    "compile_model": Foreign("train.compile", "`train.compile`"),
    "benchmark": Foreign("train.cudnn_benchmark", "`train.cudnn_benchmark`"),
    "allow_tf32": Foreign("train.tf32", "`train.tf32`"),
    "timeout": Foreign("loader.timeout_s", "`loader.timeout_s`, in seconds"),
    "syncbn": Foreign("train.sync_bn", "`train.sync_bn`"),
    "sync_batchnorm": Foreign("train.sync_bn", "`train.sync_bn`"),
    "img": Foreign("train.imgsz", "`train.imgsz`: one number, or [width, height]"),
    "img_size": Foreign("train.imgsz", "`train.imgsz`: one number, or [width, height]"),
    "image_size": Foreign("train.imgsz", "`train.imgsz`: one number, or [width, height]"),
    "rect": Foreign("train.imgsz", "`train.imgsz: [width, height]` is a true rectangle, with mosaic and mixup"),
    "prefetch": Foreign("loader.prefetch_factor", "`loader.prefetch_factor`"),
    "lr": Foreign("optim.lr0", "`optim.lr0`, before `train.lr_scaling`"),
    "learning_rate": Foreign("optim.lr0", "`optim.lr0`, before `train.lr_scaling`"),
    "max_epochs": Foreign("schedule.epochs", "`schedule.epochs`"),
    "accumulate": Foreign("optim.nbs", "`optim.nbs`, the number of images to accumulate up to"),
    "accumulate_grad_batches": Foreign("optim.nbs", "`optim.nbs`, the number of images to accumulate up to"),
    "gradient_accumulation_steps": Foreign("optim.nbs", "`optim.nbs`, the number of images to accumulate up to"),
    "mixup_alpha": Foreign("augment.mixup", "`augment.mixup`, a probability"),
    "cutmix_alpha": Foreign("augment.cutmix", "`augment.cutmix`, a probability"),
    "label_smoothing": Foreign(None, "leave it out: Ultralytics removed it and would ignore it"),
    "image_weights": Foreign(None, "leave it out: Ultralytics does not have it"),
    "fl_gamma": Foreign(None, "leave it out: Ultralytics removed it"),
    "model": Foreign("weights", "`weights`: a .pt file, or a model .yaml to start from scratch"),
    "pretrained": Foreign("weights", "`weights`: a .pt file, or a model .yaml to start from scratch"),
    "project": Foreign(None, "the folder of all runs is the option --runs-dir"),
    "name": Foreign(None, "a run's name is the option --run"),
    "save_dir": Foreign(None, "use the options --runs-dir and --run"),
    "exist_ok": Foreign(None, "use --resume to go on with a run that exists"),
    "resume": Foreign(None, "use the option --resume"),
    "quantize": Foreign(None, "leave it out: in training it would switch quantisation-aware training on"),
    "int8": Foreign(None, "leave it out: in training it would switch quantisation-aware training on"),
}


@cache
def all_keys() -> tuple[str, ...]:
    return tuple(known_keys())


@cache
def _short_names() -> dict[str, list[str]]:
    """The last part of every `section.key` to the keys that end so; deeper keys need their section's name."""
    table: dict[str, list[str]] = {}
    for key in all_keys():
        if key.count(".") <= 1 and not key.startswith(_NOT_SETTINGS):
            table.setdefault(key.rpartition(".")[2], []).append(key)
    return table


def split_stage(key: str) -> tuple[str | None, str]:
    """`stage2.epochs` -> ("2", "epochs"); a key for both stages -> (None, key)."""
    for prefix in _STAGES:
        if key.startswith(prefix):
            return prefix[5], key.removeprefix(prefix)
    return None, key


def is_known(key: str) -> bool:
    """True for a dotted key of the schema; `env.NAME` is known for any name that a variable can have."""
    return (key in all_keys() and key != "env") or _VARIABLE.fullmatch(key) is not None


def owner_of(key: str) -> str:
    """`profile` or `preset`: who a known key belongs to."""
    return "profile" if key.partition(".")[0] in PROFILE_SECTIONS else "preset"


def expand(name: str) -> str | None:
    """The full key for a full or an unambiguous short name; None where there is none."""
    if is_known(name):
        return name
    matches = _short_names().get(name, [])
    return matches[0] if len(matches) == 1 else None


@cache
def section_names() -> tuple[str, ...]:
    """Every name that has keys below it, e.g. `loader`, `loader.val`, `guard` and `env`."""
    parents = [key.rpartition(".")[0] for key in all_keys() if "." in key]
    open_or_empty = [name for name in PRESET_SECTIONS + PROFILE_SECTIONS if name == "env" or name not in all_keys()]
    return tuple(dict.fromkeys([*open_or_empty, *parents]))


def advice_for(name: str) -> str:
    """What to write instead of an unknown key, as the text of a hint."""
    last = name.rpartition(".")[2]
    foreign = FOREIGN.get(last.lower())
    if foreign:
        return foreign.advice
    same_name = [key for key in all_keys() if key.rpartition(".")[2] == last and not key.startswith(_NOT_SETTINGS)]
    if same_name:
        return " or ".join(f"`{key}`" for key in same_name) + f" (a {owner_of(same_name[0])}'s key)"
    near = nearest_keys(name)
    return f"did you mean {' or '.join(near)}?" if near else "`sainet config show` lists every key"


def nearest_keys(name: str) -> list[str]:
    """Up to two known keys that look like `name`, by the whole and by the last part."""
    by_last = {key.rpartition(".")[2]: key for key in reversed(all_keys()) if not key.startswith(_NOT_SETTINGS)}
    whole = difflib.get_close_matches(name, all_keys(), n=2, cutoff=0.75)
    last = [by_last[m] for m in difflib.get_close_matches(name.rpartition(".")[2], by_last, n=2, cutoff=0.7)]
    return [f"`{key}`" for key in dict.fromkeys(whole + last)][:2]
