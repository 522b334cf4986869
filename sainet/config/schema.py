"""Every key that sainet knows, its type, its range, its default, and who owns it.

A key that Ultralytics has keeps Ultralytics' name and values. A *profile* owns how a machine is used
(`PROFILE_SECTIONS`), a *stage preset* owns what is learned (`PRESET_SECTIONS`); a key belongs to one of the two.
"""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema, model_validator

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
NonNegative = Annotated[float, Field(ge=0.0)]
Positive = Annotated[float, Field(gt=0.0)]
Share = Annotated[float, Field(gt=0.0, le=1.0)]
Auto = Literal["auto"]


def _check_shape(value: int | list[int]) -> int | list[int]:
    sides = value if isinstance(value, list) else [value]
    if isinstance(value, list) and len(value) != 2:
        raise ValueError("one number or [width, height]")
    if any(side < 32 for side in sides):
        raise ValueError("at least 32 pixels a side")
    return value


_SIDE = {"type": "integer", "minimum": 32}
ImageSize = Annotated[
    int | list[int],
    AfterValidator(_check_shape),
    WithJsonSchema({"anyOf": [_SIDE, {"type": "array", "items": _SIDE, "minItems": 2, "maxItems": 2}]}),
]


_FORMAT = re.compile(r"as-is|(?:jpeg|raw)-([1-9][0-9]{1,3})")
_SIDES = (64, 8192)


def check_format(value: str) -> str:
    """`as-is`, `jpeg-N` or `raw-N`. Raises `ValueError` with what it should be."""
    match = _FORMAT.fullmatch(value)
    if match is None or (match[1] and not _SIDES[0] <= int(match[1]) <= _SIDES[1]):
        raise ValueError(f"as-is, jpeg-N or raw-N with N from {_SIDES[0]} to {_SIDES[1]}, as in jpeg-1440")
    return value


StagingFormat = Annotated[
    str, AfterValidator(check_format), WithJsonSchema({"type": "string", "pattern": f"^({_FORMAT.pattern})$"})
]


class Section(BaseModel):
    """A section of the configuration: strict types, and no key that nobody reads."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, defer_build=True)


# --- what a profile owns ----------------------------------------------------------------------------------------------


class Hardware(Section):
    """The machine that the profile is written for; `--profile auto` goes by its GPUs."""

    gpu: str | None = Field(None, description="Name of the GPU as NVML prints it, or a part of it.")
    gpus: int = Field(0, ge=0, description="How many GPUs the profile trains on; 0 for the CPU.")
    vram_gib: Positive | None = Field(None, description="Memory of one GPU, GiB.")
    ram_gib: Positive | None = Field(None, description="RAM limit of the machine or container, GiB.")
    cpus: int | None = Field(None, ge=1, description="CPU threads.")
    shm_gib: Positive | None = Field(None, description="Size of /dev/shm, GiB.")
    disk_gib: Positive | None = Field(None, description="Free disk space, GiB.")
    storage: str | None = Field(None, description="What the data lie on (SSD, FSx Lustre, tmpfs, ...).")


class Train(Section):
    """How the machine's processors are used."""

    engine: Literal["sainet", "stock"] = Field(
        "sainet", description="sainet's loader, augmentation and exact resume, or Ultralytics' own (stock)."
    )
    device: str | int | list[int] = Field(
        "auto",
        description="'cpu', a GPU's number, several as 0,1 or [0, 1], or auto: GPU 0 where there is one.",
    )
    batch: int = Field(16, ge=1, le=65536, description="Images in one forward pass, over all GPUs together.")
    imgsz: ImageSize = Field(640, description="Side of the square in pixels, or [width, height] for a true rectangle.")
    amp: bool | Literal["fp16", "bf16", "fp32"] = Field(True, description="Mixed precision: true is fp16 on a GPU.")
    compile: bool | Literal["default", "reduce-overhead", "max-autotune-no-cudagraphs"] = Field(
        False, description="torch.compile the model."
    )
    channels_last: bool | None = Field(None, description="NHWC memory format; null: on with CUDA, off elsewhere.")
    tf32: bool | None = Field(None, description="TensorFloat-32 matmuls; null leaves PyTorch's own default.")
    deterministic: bool = Field(True, description="Deterministic algorithms where PyTorch has them.")
    cudnn_benchmark: bool = Field(
        False, description="Let cuDNN time its algorithms and keep the fastest; needs deterministic: false."
    )
    sync_bn: bool = Field(False, description="Batch statistics over all GPUs (SyncBatchNorm).")
    micro_batch: int = Field(1, ge=1, description="Compute the batch in this many pieces, with the same gradient.")
    lr_scaling: Literal["none", "linear"] = Field(
        "none", description="linear: lr0 is for `lr_base_batch` images a step, and grows in proportion."
    )
    lr_base_batch: int = Field(64, ge=1, description="Effective batch that lr0 is stated for (lr_scaling: linear).")
    checkpoint_minutes: Positive = Field(
        5.0,
        description="Time between two exact checkpoints inside an epoch, minutes; longer where writing takes long.",
    )
    save_period: int = Field(-1, ge=-1, description="Keep a checkpoint every N epochs besides last and best; -1: no.")
    plots: bool = Field(True, description="Draw label, batch and curve plots into the attempt's folder.")


class ValLoader(Section):
    """Validation's own loader. Its workers live only while it validates."""

    workers: int | None = Field(None, ge=0, le=1024, description="Null: half of the training's, rounded up.")
    prefetch_factor: int | None = Field(None, ge=1, le=1024, description="Null: 2, as Ultralytics has it.")
    pin_memory: bool | None = Field(None, description="Null: as for training.")
    timeout_s: Positive | None = Field(None, description="Null: as for training.")


class Loader(Section):
    """How images reach the GPU."""

    workers: Annotated[int, Field(ge=0, le=1024)] | Auto = Field(
        "auto",
        description="Loader processes per GPU; 0 loads in the training process; auto asks the machine.",
    )
    prefetch_factor: int | None = Field(
        None, ge=1, le=1024, description="Batches that each worker holds ready; null: Ultralytics' own 4."
    )
    pin_memory: bool | None = Field(None, description="Page-locked host buffers; null: on with CUDA.")
    persistent_workers: bool = Field(True, description="Keep the workers alive between epochs.")
    timeout_s: Positive = Field(
        300.0, description="How long to wait for one batch before the loader counts as stuck, seconds."
    )
    cache: Literal[False, "ram", "disk"] = Field(
        False,
        description="Keep decoded images in RAM (one copy per GPU) or as .npy files in the run's cache folder.",
    )
    val: ValLoader = Field(default_factory=ValLoader)


class Staging(Section):
    """Copying the data to faster storage before the training."""

    to: Literal["shm"] | None = Field(
        None, description="shm: a verified copy in /dev/shm, made before the training. It turns a cache off."
    )
    format: StagingFormat = Field(
        "as-is",
        description="as-is; jpeg-N or raw-N: with a long side of at most N pixels, re-encoded or decoded.",
    )


class Guard(Section):
    """When memory counts as short, and what may be done about it. Levels are shares of a limit.

    The defaults were found on recorded and synthetic traces; `sainet guard replay` shows what others would do.
    """

    enabled: bool = Field(True, description="Act before memory runs out; false only records and recovers.")
    soft: Share = Field(0.92, description="RAM and /dev/shm: from here on, for `soft_s`, less is loaded ahead.")
    hard: Share = Field(0.96, description="RAM and /dev/shm: from here on, at once, as much is given back as can be.")
    clear: Share = Field(0.80, description="Below it for `clear_s` memory counts as plenty again.")
    soft_s: NonNegative = Field(0.5, description="How long a level has to last before it counts as soft, seconds.")
    clear_s: NonNegative = Field(30.0, description="How long it has to last before it counts as clear, seconds.")
    cooldown_s: NonNegative = Field(15.0, description="Time between two steps, in which the last one shows, seconds.")
    slope_from: Share = Field(0.88, description="RAM and /dev/shm: from here on growth counts too.")
    slope_s: Positive = Field(1.0, description="Growth is taken over so many seconds.")
    slope_reach_s: NonNegative = Field(2.5, description="Soft when growth reaches the limit within so many seconds.")
    hard_slope_from: Share = Field(0.90, description="From here on fast growth counts as hard.")
    hard_slope_s: Positive = Field(0.5, description="Fast growth is taken over so many seconds.")
    hard_slope_reach_s: NonNegative = Field(1.0, description="Hard when growth reaches the limit that soon, seconds.")
    survived_margin: Fraction = Field(
        0.015, description="Growth counts only so far above the highest peak that was survived before."
    )
    vram_soft: Share = Field(0.92, description="VRAM of one GPU: from here on unused cached blocks are given back.")
    vram_hard: Share = Field(0.96, description="VRAM of one GPU: from here on `on_vram` is done.")
    on_vram: Literal["microbatch", "restart", "stop"] = Field(
        "microbatch",
        description="When VRAM runs short: the batch in more pieces, the stage anew with a smaller batch, or stop.",
    )
    disk_soft_gib: NonNegative = Field(2.0, description="Warn below this much free disk, or 4 checkpoints if known.")
    disk_hard_gib: NonNegative = Field(0.5, description="Stop below this much free disk, or 1.5 checkpoints if known.")
    every_s: Positive = Field(0.5, description="Time between two looks, seconds.")
    tight_every_s: Positive = Field(0.1, description="The same above `tight`.")
    tight: Share = Field(0.75, description="Share of the RAM or /dev/shm above which it is looked at more often.")
    max_restarts: int = Field(3, ge=0, description="How often a stage is started again after memory killed it.")
    hang_factor: Positive = Field(20.0, description="Hung: no batch for so many times the median batch time.")
    hang_s: Positive = Field(120.0, description="And for at least so many seconds, without using the CPU.")


Quantity = Literal[
    "card", "vram", "vram_all", "gpu_batch", "optimizer", "largest_batch",
    "ram", "base", "loaders", "batch", "train_queue", "val_queue", "ram_cache",
    "shm", "disk", "other",
]  # fmt: skip
"""What a claim is about. GPU: one card's size, the estimate for one GPU and for all of them, one batch as the model
reads it, the optimizer's state, the largest total batch that fits. RAM: all of it, the processes by themselves, all
that loading takes, one batch as it is loaded, the batches of either loader, the cache. Then /dev/shm and the disk.
`benchmarks/memory/claims.py` counts them; `other` is what cannot be counted, and its note says why."""


class Claim(Section):
    """A sentence of the document about memory, so that it can be counted anew (docs/memory.md).

    Exactly one of `gib`, `times`, `images`, `fits` and `change` is what it claims; none for `other`.
    """

    says: str = Field(min_length=1, description="The sentence, as the document has it.")
    about: Quantity
    gib: float | None = Field(None, description="So many GiB; with `than`, so many more than there.")
    times: Positive | None = Field(None, description="So many times what it is with the settings in `than`.")
    images: int | None = Field(None, ge=0, description="So many images; of the largest batch.")
    fits: bool | None = Field(None, description="Whether it (ram, shm, disk, vram) fits into what `hardware:` says.")
    change: Literal["less", "same", "more"] | None = Field(None, description="How it compares with `than`.")
    settings: list[str] = Field(
        default_factory=list, description="KEY=VALUE, as after --set: where the claim differs from the profile."
    )
    than: list[str] | None = Field(None, description="KEY=VALUE: the settings that it is compared with.")
    note: str | None = Field(None, description="Why it is so, as far as that is known.")

    @model_validator(mode="after")
    def _claims_one_thing(self) -> "Claim":
        said = [name for name in ("gib", "times", "images", "fits", "change") if getattr(self, name) is not None]
        if self.about == "other":
            if said or self.note is None:
                raise ValueError("a claim about `other` with a note that says why nothing can be counted")
            return self
        if len(said) != 1:
            raise ValueError("a claim with exactly one of gib, times, images, fits and change")
        if said[0] in {"times", "change"} and self.than is None:
            raise ValueError(f"a claim that has `than` beside `{said[0]}`")
        if said[0] == "fits" and (self.about not in {"ram", "shm", "disk", "vram"} or self.than is not None):
            raise ValueError("a claim about ram, shm, disk or vram, without `than`, if it says `fits`")
        if (said[0] == "images") != (self.about == "largest_batch"):
            raise ValueError("a claim about largest_batch if it says `images`, and about nothing else")
        return self


class Reference(Section):
    """Published figures of this very configuration, for comparison. Nothing is decided from them."""

    source: str | None = Field(None, description="The document that the figures come from.")
    batch: int | None = Field(None, ge=1, description="The batch that they were measured at.")
    imgsz: ImageSize | None = Field(None, description="The size that was really trained; null: that of the profile.")
    images: int | None = Field(None, ge=1, description="Training images of the run that was measured.")
    data_gib: Positive | None = Field(None, description="All image and label files together.")
    s_per_batch: Positive | None = None
    vram_gib: Positive | None = Field(None, description="Of one GPU.")
    ram_gib: Positive | None = None
    epoch_min: Positive | None = Field(None, description="Minutes an epoch.")
    stage1_hours: list[Positive] | None = Field(None, description="[from, to] for the whole stage.")
    stage2_hours: list[Positive] | None = Field(None, description="[from, to] for the whole stage.")
    map50: Fraction | None = None
    map50_after_epochs: int | None = Field(None, ge=1)
    note: str | None = None
    claims: list[Claim] = Field(default_factory=list, description="What the document says about memory.")


# --- what a stage preset owns -----------------------------------------------------------------------------------------


class Schedule(Section):
    """How long, in what order, on which classes, and what counts as best."""

    epochs: int = Field(100, ge=1, le=100_000)
    patience: int = Field(10, ge=0, description="Epochs without improvement before stopping; 0: never stop early.")
    close_mosaic: int = Field(10, ge=0, description="Mosaic, mixup and cutmix are off for the last N epochs.")
    seed: int = Field(0, ge=0, le=2**31 - 1)
    select_by: Literal["map50-95", "map50", "recall"] = Field(
        "map50-95", description="The metric that picks best.pt and that patience watches."
    )
    classes: list[str] | None = Field(
        None,
        description="Classes to detect, by name in any case, in the order of the head; null: all of the data's.",
    )
    single_cls: bool = Field(
        False, description="One class only: the single name in `classes`; boxes of others are left out."
    )
    fraction: Annotated[float, Field(gt=0.0, le=1.0)] = Field(1.0, description="Share of the training images.")
    freeze: int | list[int] | None = Field(None, description="Freeze the first N layers, or these.")


class Optim(Section):
    """The optimizer and the learning rate."""

    optimizer: Literal["SGD", "Adam", "AdamW", "NAdam", "RAdam", "RMSProp", "Adamax", "MuSGD"] | Auto = Field(
        "SGD", description="auto lets Ultralytics choose, and then lr0 and momentum are its choice too."
    )
    lr0: Fraction = 0.01
    lrf: Fraction = Field(0.01, description="Final learning rate as a share of lr0.")
    momentum: Fraction = 0.937
    weight_decay: Fraction = 0.0005
    warmup_epochs: NonNegative = 3.0
    warmup_momentum: Fraction = 0.8
    warmup_bias_lr: Fraction = 0.1
    cos_lr: bool = False
    nbs: int = Field(64, ge=1, description="Nominal batch: gradients are accumulated up to about this many images.")


class Augment(Section):
    """Augmentation of the training images."""

    mosaic: Fraction = 1.0
    mixup: Fraction = 0.0
    cutmix: Fraction = 0.0
    copy_paste: Fraction = Field(0.0, description="Needs segments: on box labels it has no effect.")
    hsv_h: Fraction = 0.015
    hsv_s: Fraction = 0.7
    hsv_v: Fraction = 0.4
    degrees: Annotated[float, Field(ge=0.0, le=180.0)] = 0.0
    translate: Fraction = 0.1
    scale: Fraction = 0.5
    shear: Annotated[float, Field(ge=0.0, le=180.0)] = 0.0
    perspective: Annotated[float, Field(ge=0.0, le=0.001)] = 0.0
    flipud: Fraction = 0.0
    fliplr: Fraction = 0.5
    bgr: Fraction = 0.0
    multi_scale: Fraction = Field(0.0, description="Vary imgsz by up to this share of it.")


class Loss(Section):
    """Weights of the loss's terms."""

    box: NonNegative = 7.5
    cls: NonNegative = 0.5
    dfl: NonNegative = 1.5


# --- the whole --------------------------------------------------------------------------------------------------------


class Config(Section):
    """The resolved configuration of one stage."""

    data: str | None = Field(None, min_length=1, description="The data YAML (Ultralytics' format).")
    weights: str | None = Field(
        None,
        min_length=1,
        description="Initial weights: a .pt file, a model .yaml (from scratch), or stage-1 for stage 1's best.",
    )
    schedule: Schedule = Field(default_factory=Schedule)
    optim: Optim = Field(default_factory=Optim)
    augment: Augment = Field(default_factory=Augment)
    loss: Loss = Field(default_factory=Loss)
    hardware: Hardware = Field(default_factory=Hardware)
    train: Train = Field(default_factory=Train)
    loader: Loader = Field(default_factory=Loader)
    staging: Staging = Field(default_factory=Staging)
    guard: Guard = Field(default_factory=Guard)
    env: dict[str, str] = Field(
        default_factory=dict, description="Environment variables of the training process alone."
    )
    reference: Reference = Field(default_factory=Reference)


PROFILE_SECTIONS = ("hardware", "train", "loader", "staging", "guard", "env", "reference")
PRESET_SECTIONS = ("data", "weights", "schedule", "optim", "augment", "loss")
STAGE_1_WEIGHTS = "stage-1"
"""The value of `weights` that stands for the best weights of the same run's stage 1."""


def section_model(name: str) -> type[Section] | None:
    """The model of a section; None for the plain keys `data`, `weights` and `env`."""
    annotation = Config.model_fields[name].annotation
    return annotation if isinstance(annotation, type) and issubclass(annotation, Section) else None


def known_keys(sections: tuple[str, ...] = PRESET_SECTIONS + PROFILE_SECTIONS) -> list[str]:
    """Every dotted key, e.g. `loader.val.workers`; `env` is open and stands for itself."""
    return [key for name in sections for key in _keys_below(name, section_model(name))]


def _keys_below(prefix: str, model: type[Section] | None) -> list[str]:
    if model is None:
        return [prefix]
    keys = []
    for name, field in model.model_fields.items():
        nested = field.annotation if isinstance(field.annotation, type) else None
        below = nested if nested is not None and issubclass(nested, Section) else None
        keys += _keys_below(f"{prefix}.{name}", below)
    return keys
