"""Nothing wrong passes: keys, owners, values, contradictions; all problems at once, each with its place."""

from pathlib import Path

import pytest
from config_cases import problems_of, profile_file, settle

from sainet.config.check import check_file
from sainet.errors import ConfigError


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("train: {bacth: 3}", "unknown key `train.bacth`", "did you mean `train.batch`?"),
        ("loader: {worker: 3}", "unknown key `loader.worker`", "did you mean `loader.workers`"),
        ("workers: 3", "unknown key `workers`", "`loader.workers` or `loader.val.workers` (a profile's key)"),
        ("train: {lr0: 3}", "unknown key `train.lr0`", "`optim.lr0` (a preset's key)"),
        ("träin: {bätch: 3}", "unknown key `träin.bätch`", "did you mean `train.batch`?"),
        ("1.5: 2", "`1.5` has a dot inside one key", "write `1:` and below it `5:`"),
        ("train: {device: 0,1}", "unknown key `train.1`", 'a value such as "0,1" needs quotes there'),
        ("env: {A: 0,1}", "unknown key `env.1`", 'a value such as "0,1" needs quotes there'),
        ("zzz: 2", "unknown key `zzz`", "`sainet config show` lists every key"),
        ("profile: h200", "`profile` cannot be set here", "choose with --profile and --tier; tiers live in profiles"),
        ("tiers: {fast: {train: {batch: 3}}}", "`tiers.fast.train.batch` cannot be set here", "choose with --profile"),
        ("tiers: 3", "`tiers` cannot be set here", "choose with --profile"),
        ("train: 3", "`train` is a section: it takes keys, not a value", "name the key: train.KEY"),
        ("loader: [1]", "`loader` is a section", "name the key: loader.KEY"),
        ("loader: {val: false}", "`loader.val` is a section", "name the key: loader.val.KEY"),
        ("env: 4", "`env` is a section", "name the key: env.KEY"),
        ("stage2: 4", "`stage2` is a section", "name the key: stage2.KEY"),
        ("env: {a-b: 4}", "`env.a-b` is not a name that a variable can have", "letters, digits and _"),
        ("schedule: {classes: {0: fire}}", "`schedule.classes` takes a value: it has no keys below it", ""),
    ],
)
def test_an_unknown_key_says_what_was_meant(text: str, message: str, hint: str) -> None:
    (problem,) = problems_of(project=text)
    assert problem.startswith(f"sainet.yaml:1: {message}")
    assert hint in problem


@pytest.mark.parametrize(
    ("key", "advice"),
    [
        ("batch_size: 256", "`train.batch` counts the images of all GPUs together"),
        ("num_workers: 12", "`loader.workers`, per GPU"),
        ("precision: 16-mixed", "`train.amp`: 16-mixed is fp16"),
        ("half: true", "half is for inference and would train nothing"),
        ("noval: false", "every epoch is validated"),
        ("val: true", "every epoch is validated"),
        ("ddp: true", "name the GPUs in `train.device`, e.g. 0,1"),
        ("compile_model: true", "`train.compile`"),
        ("mixup_alpha: 0.0", "`augment.mixup`"),
        ("label_smoothing: 0.1", "Ultralytics removed it"),
        ("lr: 0.5", "`optim.lr0`"),
        ("rect: true", "is a true rectangle"),
        ("model: yolov8s.pt", "`weights`"),
        ("project: runs", "--runs-dir"),
    ],
)
@pytest.mark.parametrize("layout", ["{key}", "train: {{{key}}}"])
def test_a_key_of_another_tool_names_the_right_one(key: str, advice: str, layout: str) -> None:
    (problem,) = problems_of(project=layout.format(key=key))
    assert problem.startswith("sainet.yaml:1: sainet has no `")
    assert advice in problem


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("train: {batch: x}", '`train.batch` should be a whole number; it is "x"'),
        ("train: {batch: 1.5}", "`train.batch` should be a whole number; it is 1.5"),
        ("train: {batch: true}", "`train.batch` should be a whole number; it is true"),
        ("train: {batch: 0}", "`train.batch` should be at least 1; it is 0"),
        ("train: {batch: 99999999999999999999999999}", "`train.batch` should be at most 65536; it is 999999999"),
        ("train: {batch: 2024-09-09}", '`train.batch` should be a whole number; it is "2024-09-09"'),
        ("train: {sync_bn: 1}", "`train.sync_bn` should be true or false; it is 1"),
        (
            "train: {amp: 16-mixed}",
            "`train.amp` should be true or false or 'fp16', 'bf16' or 'fp32'; it is \"16-mixed\"",
        ),
        ("train: {device: true}", "`train.device` should be text or a whole number or a list; it is true"),
        ("train: {imgsz: [1440]}", "`train.imgsz` should be one number or [width, height]; it is [1440]"),
        ("train: {imgsz: 16}", "`train.imgsz` should be at least 32 pixels a side; it is 16"),
        ("train: {imgsz: [1440, x]}", "a whole number at place 2"),
        ("loader: {workers: '8'}", "`loader.workers` should be a whole number or 'auto'; it is \"8\""),
        ("loader: {workers: -1}", "`loader.workers` should be at least 0 or 'auto'; it is -1"),
        (
            "loader: {cache: true}",
            "`loader.cache` should be false, 'ram' or 'disk'; it is true\n  hint: Ultralytics' `true` is `ram`",
        ),
        ("schedule: {seed: 99999999999}", "`schedule.seed` should be at most 2147483647"),
        ("schedule: {classes: smoke}", '`schedule.classes` should be a list; it is "smoke"'),
        ("schedule: {classes: [smoke, 1]}", "`schedule.classes` should be text at place 2; it is"),
        ("optim: {lr0: 1.5}", "`optim.lr0` should be at most 1.0; it is 1.5"),
        ("optim: {lr0: .nan}", "`optim.lr0` should be a finite number; it is NaN"),
        ("optim: {optimizer: sgd}", "should be 'SGD', 'Adam',"),
        ("loss: {box: .inf}", "`loss.box` should be a finite number; it is Infinity"),
        ("loss: {box: -1}", "`loss.box` should be at least 0.0; it is -1"),
        ("schedule: {fraction: 0}", "`schedule.fraction` should be greater than 0.0; it is 0"),
        ("data: ''", '`data` should be text that is not empty; it is ""'),
    ],
)
def test_a_wrong_value_says_what_is_right(text: str, wanted: str) -> None:
    (problem,) = problems_of(project=text)
    assert problem.startswith("sainet.yaml:1: `")
    assert wanted in problem


@pytest.mark.parametrize("text", ["train: {batch: null}", "train:\n  batch:\n", "loader: {workers: ~}"])
def test_null_is_an_error_where_a_value_is_needed(text: str) -> None:
    (problem,) = problems_of(project=text)
    assert "; it is null\n  hint: give it a value, or leave it out for the default" in problem


def test_null_is_a_value_where_the_schema_has_it() -> None:
    resolved = settle(profile="h200", project="loader: {prefetch_factor: null}\n")
    assert resolved.config.loader.prefetch_factor is None
    assert str(resolved.origin("loader.prefetch_factor")) == "sainet.yaml:1"


def test_a_float_may_be_written_as_1e_3_and_a_whole_number_may_stand_for_a_float() -> None:
    config = settle(project="optim: {lr0: 1e-3, warmup_epochs: 5}\n").config
    assert (config.optim.lr0, config.optim.warmup_epochs) == (0.001, 5.0)


def test_a_key_belongs_to_the_profile_or_to_the_preset(tmp_path: Path) -> None:
    mine = profile_file("optim:\n  lr0: 0.01\nschedule: {epochs: 3}\n")
    assert problems_of(profile=mine) == [
        "mine.yaml:2: `optim.lr0` belongs to a stage preset, not to a profile\n"
        "  hint: set it in sainet.yaml or with --set optim.lr0=...",
        "mine.yaml:3: `schedule.epochs` belongs to a stage preset, not to a profile\n"
        "  hint: set it in sainet.yaml or with --set schedule.epochs=...",
    ]
    preset = tmp_path / "presets" / "mine.yaml"
    preset.parent.mkdir()
    preset.write_text("weights: yolov8s.pt\nloader:\n  workers: 8\n")
    with pytest.raises(ConfigError) as caught:
        check_file(preset)
    assert str(caught.value) == (
        "presets/mine.yaml:3: `loader.workers` belongs to a profile, not to a stage preset\n"
        "  hint: set it in sainet.yaml or with --set loader.workers=..."
    )


def test_a_project_file_may_set_the_keys_of_both() -> None:
    config = settle(project="optim: {lr0: 0.02}\nloader: {prefetch_factor: 3}\n").config
    assert (config.optim.lr0, config.loader.prefetch_factor) == (0.02, 3)


def test_a_profile_cannot_limit_a_key_to_a_stage() -> None:
    (problem,) = problems_of(profile=profile_file("stage2:\n  train: {batch: 3}\n"))
    assert problem.startswith("mine.yaml:2: `stage2.train.batch` limits a key to one stage, which a profile cannot")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("tiers: 3\n", "mine.yaml:1: `tiers` should hold sections; it is 3"),
        ("tiers: [fast]\n", 'mine.yaml:1: `tiers` should hold sections; it is ["fast"]'),
        ("tiers:\n  fast: 3\n", "mine.yaml:2: `tiers.fast` should hold sections; it is 3"),
        ("tiers: {v1.5: {train: {batch: 3}}}\n", "mine.yaml:1: `tiers.v1.5` has a dot inside one key"),
    ],
)
def test_tiers_that_are_no_sets_of_sections_are_not_dropped_silently(text: str, problem: str) -> None:
    (found,) = problems_of(profile=profile_file(text))
    assert found.startswith(problem)


def test_a_tier_with_nothing_in_it_changes_nothing() -> None:
    mine = profile_file("train: {device: cpu, batch: 3}\ntiers:\n  same:\n")
    assert settle(profile=mine, tier="same").config.train.batch == 3


def test_unknown_profiles_and_tiers_name_the_nearest_and_the_known() -> None:
    assert problems_of(profile="h20") == [
        "there is no profile `h20`\n  hint: did you mean h200 or h200-shm? (sainet profiles ls)"
    ]
    assert "the profiles are a100x2, a10g, cpu, h200, h200-shm" in problems_of(profile="zzz")[0]
    assert problems_of(profile="nowhere.yaml") == ["no such profile file: nowhere.yaml"]
    assert problems_of(profile="h200", tier="stabel") == [
        "--tier: profile h200 has no tier `stabel`\n  hint: its tiers: stable, fast, validated-896, emergency"
    ]
    assert problems_of(profile="cpu", tier="fast") == [
        "--tier: profile cpu has no tier `fast`\n  hint: its tiers: none"
    ]


def test_all_problems_of_all_layers_are_reported_at_once() -> None:
    bad = Path("bad.yaml")
    bad.write_text("train:\n  batch: x\n  imgsz: 16\nnoval: true\n")
    syntax = Path("syntax.yaml")
    syntax.write_text("train: {batch: 3\n")
    problems = problems_of(
        profile=profile_file("train: {device: cpu}\noptim: {lr0: 1.0}\n"),
        project="loader: {wrokers: 3}\n",
        files=[bad, syntax, Path("missing.yaml")],
        environment={"SAINET_EPOCHS": "0"},
        sets=["stage2.patience=-1"],
    )
    assert [problem.split(": ")[0] for problem in problems] == [
        "syntax.yaml:2",
        "missing.yaml",
        "mine.yaml:2",
        "sainet.yaml:1",
        "bad.yaml:4",
        "bad.yaml:2",
        "bad.yaml:3",
        "SAINET_EPOCHS",
        "--set stage2.patience=-1",
    ]


def test_a_problem_of_the_other_stage_is_reported_too() -> None:
    (problem,) = problems_of(stage=1, project="stage2: {schedule: {epochs: 0}}\n")
    assert problem == "sainet.yaml:1: `schedule.epochs` should be at least 1; it is 0"


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (["single_cls=true"], "`schedule.single_cls: true` needs exactly one name in `schedule.classes`"),
        (["classes=[smoke, Smoke]"], "`schedule.classes` needs different names, at least one"),
        (["classes=[]"], "`schedule.classes` needs different names, at least one"),
        (["device=cuda:0"], '`train.device` is "cuda:0"\n  hint: cpu, a GPU\'s number, or several as 0,1'),
        (["device=²"], '`train.device` is "²"'),
        (["device="], "`train.device` should be text or a whole number or a list; it is null"),
        (["device=[]"], "`train.device` is []\n  hint: cpu, a GPU's number"),
        (["device=-1"], "`train.device` is -1"),
        (["device=0,0"], '`train.device` is "0,0"\n  hint: each GPU once'),
        (["device=0,1", "batch=61"], "`train.batch` 61 cannot be shared by 2 GPUs\n  hint: take a multiple of 2"),
        (
            ["lr_scaling=linear", "optimizer=auto"],
            "`train.lr_scaling: linear` scales lr0, which `optim.optimizer: auto`",
        ),
        (["batch=4", "micro_batch=8"], "`train.micro_batch` 8 is more pieces than `train.batch` 4 has images"),
        (
            ["batch=8", "micro_batch=5", "device=0,1"],
            "`train.micro_batch` 5 is more pieces than `train.batch` 8 has images on each of 2 GPUs",
        ),
        (
            ["cudnn_benchmark=true"],
            "`train.cudnn_benchmark: true` takes fast algorithms, `train.deterministic: true` repeatable ones",
        ),
        (
            ["lr_scaling=linear", "batch=8192"],
            "makes lr0 1.28 (0.01 x 8192 / 64 images a step); more than 1 cannot be trained",
        ),
    ],
)
def test_contradictions(sets: list[str], message: str) -> None:
    (problem,) = problems_of(sets=sets)
    assert message in problem
    assert problem.startswith("--set ")


def test_a_layer_that_cannot_be_read_makes_no_contradictions_of_its_own() -> None:
    assert problems_of(profile="h20", project="train: {micro_batch: 32}\n") == [
        "there is no profile `h20`\n  hint: did you mean h200 or h200-shm? (sainet profiles ls)"
    ]


@pytest.mark.parametrize(
    ("sets", "warning"),
    [
        ([], "augment.copy_paste needs segments"),
        (["imgsz=[1440, 808]"], "train.imgsz [1440, 808] trains at 832x1440 (H x W)"),
        (["imgsz=100"], "train.imgsz 100 trains at 128x128 (H x W)"),
        (["epochs=5"], "schedule.close_mosaic 10 covers all 5 epochs: no mosaic"),
        (["epochs=3"], "optim.warmup_epochs 5 is cut to 2"),
        (["prefetch_factor=4"], "loader.prefetch_factor has no effect without workers"),
        (["loader.timeout_s=60"], "loader.timeout_s has no effect without workers"),
        (["loader.val.prefetch_factor=3"], "loader.val.prefetch_factor has no effect without workers"),
        (["loader.val.workers=0", "loader.val.timeout_s=9"], "loader.val.timeout_s has no effect without workers"),
        (["sync_bn=true"], "train.sync_bn has no effect on one device"),
        (["engine=stock", "checkpoint_minutes=1"], "train.checkpoint_minutes has no effect with train.engine: stock"),
        (["micro_batch=2"], "train.micro_batch keeps the gradient, but BatchNorm"),
        (["compile=true", "multi_scale=0.2"], "augment.multi_scale together with train.compile: every new shape"),
        (["compile=true", "micro_batch=2"], "train.micro_batch together with train.compile: every new shape"),
        (["env.PYTORCH_ALLOC_CONF=backend:native"], "env.PYTORCH_ALLOC_CONF has no effect on a CPU"),
        (["env.OMP_NUM_THREADS=4"], "env.OMP_NUM_THREADS does not set the threads of a training on the CPU"),
        (["optimizer=auto"], "optim.lr0 and optim.momentum are not used"),
        (["staging.to=shm", "cache=ram"], "loader.cache: ram on top of staging.to: shm caches twice"),
    ],
)
def test_what_has_no_effect_is_a_warning(sets: list[str], warning: str) -> None:
    assert any(warning in text for text in settle(sets=sets).warnings)


def test_what_has_its_effect_is_no_warning() -> None:
    sets = ["device=0", "workers=4", "compile=true", "checkpoint_minutes=1", "env.PYTORCH_ALLOC_CONF=backend:native"]
    more = ["loader.timeout_s=60", "loader.val.timeout_s=9", "prefetch_factor=3", "env.OMP_NUM_THREADS=4", "amp=true"]
    assert settle(sets=sets + more).warnings == settle(sets=["device=0"]).warnings


def test_a_fault_inside_a_list_of_mappings_is_an_error_with_its_own_line() -> None:
    claims = """\
reference:
  claims:
    - {says: a, about: vram, gib: 1}
    - says: b
      about: vrma
      gib: 1
    - {says: c, abuot: vram, gib: 1}
    - 3
    - says: d
      about: vram
"""
    found = [problem.partition("\n")[0] for problem in problems_of(profile=profile_file(claims))]
    assert found[0].startswith("mine.yaml:5: `reference.claims`, item 2: `about` should be 'card', 'vram', ")
    assert found[0].endswith('; it is "vrma"')
    assert found[1:] == [
        "mine.yaml:7: `reference.claims`, item 3: `about` is missing",
        "mine.yaml:7: `reference.claims`, item 3: unknown key `abuot`",
        "mine.yaml:2: `reference.claims`, item 4 should be `key: value` lines",
        "mine.yaml:9: `reference.claims`, item 5 should be a claim with exactly one of gib, times, images, fits and "
        "change",
    ]
