"""The layers that a user writes, in their order: sainet.yaml, --config, SAINET_*, --set."""

from pathlib import Path

import pytest
from config_cases import problems_of, settle

from sainet.config.auto import HardwareValues
from sainet.config.layers import split_set
from sainet.errors import ConfigError


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_each_layer_beats_the_ones_below_it() -> None:
    first, second = Path("first.yaml"), Path("second.yaml")
    first.write_text("train: {batch: 3}\n")
    second.write_text("train: {batch: 4}\n")
    assert settle().config.train.batch == 16
    assert settle(project="train: {batch: 2}\n").config.train.batch == 2
    assert settle(files=[first]).config.train.batch == 3
    assert settle(files=[first, second]).config.train.batch == 4
    assert settle(files=[second, first]).config.train.batch == 3
    assert settle(files=[first], environment={"SAINET_BATCH": "5"}).config.train.batch == 5
    assert settle(environment={"SAINET_BATCH": "5"}, sets=["batch=6"]).config.train.batch == 6


def test_preset_then_profile_then_tier() -> None:
    assert settle(stage=1).config.optim.lr0 == 0.01
    assert settle(stage=2).config.optim.lr0 == 0.001
    assert settle(profile="h200").config.train.batch == 128
    assert settle(profile="h200", tier="stable").config.train.batch == 96


def test_a_key_limited_to_a_stage_reaches_that_stage_only_and_beats_the_general_one() -> None:
    text = "stage2: {schedule: {epochs: 4}}\nschedule: {epochs: 9}\n"
    assert settle(stage=1, project=text).config.schedule.epochs == 9
    assert settle(stage=2, project=text).config.schedule.epochs == 4
    sets = ["stage2.epochs=40", "stage1.data=fasdd.yaml"]
    assert settle(stage=1, sets=sets).config.schedule.epochs == 9
    assert settle(stage=1, sets=sets).config.data == str(Path.cwd() / "fasdd.yaml")
    assert settle(stage=2, sets=sets).config.schedule.epochs == 40
    assert settle(stage=2, sets=sets).config.data is None


def test_merge_keys_may_share_settings_between_the_stages() -> None:
    text = "stage1: &one\n  train: {batch: 4}\n  loss: {box: 1.0}\nstage2:\n  <<: *one\n  train: {batch: 8}\n"
    two = settle(stage=2, project=text)
    assert (two.config.train.batch, two.config.loss.box) == (8, 1.0)
    assert str(two.origin("loss.box")) == "sainet.yaml:3"


@pytest.mark.parametrize(
    ("variable", "text", "key", "value"),
    [
        ("SAINET_TRAIN_BATCH", "96", "train.batch", 96),
        ("SAINET_BATCH", "96", "train.batch", 96),
        ("SAINET_LR0", "1e-3", "optim.lr0", 0.001),
        ("SAINET_DEVICE", "0,1", "train.device", "0,1"),
        ("SAINET_IMGSZ", "[1440, 808]", "train.imgsz", [1440, 808]),
        ("SAINET_STAGE1_EPOCHS", "40", "schedule.epochs", 40),
        ("SAINET_STAGE1_SCHEDULE_EPOCHS", "40", "schedule.epochs", 40),
        ("SAINET_LOADER_VAL_WORKERS", "2", "loader.val.workers", 2),
        ("SAINET_ENV_OMP_NUM_THREADS", "8", "env.OMP_NUM_THREADS", "8"),
        ("SAINET_STAGE1_ENV_A", "1", "env.A", "1"),
        ("SAINET_STAGE1_DATA", "/2024", "data", "/2024"),
        ("SAINET_WEIGHTS", "yolov8n.pt", "weights", "yolov8n.pt"),
    ],
)
def test_environment_variables(variable: str, text: str, key: str, value: object) -> None:
    resolved = settle(environment={variable: text, "PATH": "/bin"})
    assert resolved.value(key) == value
    assert str(resolved.origin(key)) == variable


def test_unknown_variables_are_all_errors_with_advice() -> None:
    names = ["SAINET_BATCH_SIZE", "SAINET_TRAIN_BATCHES", "SAINET_PROFILE", "SAINET_"]
    problems = "\n".join(problems_of(environment=dict.fromkeys(names, "3")))
    assert "SAINET_BATCH_SIZE: sainet has no such setting\n  hint: `train.batch` counts the images" in problems
    assert "SAINET_TRAIN_BATCHES: sainet has no such setting\n  hint: did you mean `train.batch`?" in problems
    assert "SAINET_PROFILE: sainet has no such setting\n  hint: use the option --profile" in problems
    assert "SAINET_: sainet has no such setting" in problems


@pytest.mark.parametrize(
    ("variable", "text", "message"),
    [
        ("SAINET_BATCH", "[1", "SAINET_BATCH: not a YAML value: did not find expected ',' or ']'"),
        ("SAINET_BATCH", "", "SAINET_BATCH: `train.batch` should be a whole number; it is null"),
        ("SAINET_BATCH", "0", "SAINET_BATCH: `train.batch` should be at least 1; it is 0"),
        ("SAINET_ENV", "{A: 3}", "SAINET_ENV: `env` is a section"),
    ],
)
def test_a_bad_value_in_the_environment_names_its_variable(variable: str, text: str, message: str) -> None:
    (problem,) = problems_of(environment={variable: text})
    assert message in problem


def test_two_ways_to_say_a_key_in_one_layer_must_agree() -> None:
    assert problems_of(sets=["batch=96", "train.batch=64"]) == [
        "--set train.batch=64: `train.batch` is also set by `--set batch=96`\n  hint: keep one"
    ]
    both = {"SAINET_WORKERS": "3", "SAINET_LOADER_WORKERS": "4"}
    (problem,) = problems_of(environment=both)
    assert "`loader.workers` is also set by" in problem
    assert settle(sets=["batch=96", "train.batch=96"]).config.train.batch == 96


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("train.batch=96", "train.batch", 96),
        (" train.batch = 96 ", "train.batch", 96),
        ("workers=12", "loader.workers", 12),
        ("lr0=1e-3", "optim.lr0", 0.001),
        ("cos_lr=off", "optim.cos_lr", False),
        ("imgsz=[1440, 808]", "train.imgsz", [1440, 808]),
        ("env.PYTORCH_CUDA_ALLOC_CONF=max_split_size_mb:512", "env.PYTORCH_CUDA_ALLOC_CONF", "max_split_size_mb:512"),
        ("env.A=x=y", "env.A", "x=y"),
        ("env.A=1:30", "env.A", "1:30"),
        ("env.A=", "env.A", ""),
        ("data=/2024-99-99", "data", "/2024-99-99"),
    ],
)
def test_set(text: str, key: str, value: object) -> None:
    assert settle(sets=[text]).value(key) == value


@pytest.mark.parametrize("text", ["workers", "=3", " = 3", ""])
def test_set_without_a_key_or_an_equals_sign(text: str) -> None:
    with pytest.raises(ConfigError, match="expected KEY=VALUE"):
        split_set(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train={batch: 3}", "`train` is a section: it takes keys, not a value\n  hint: name the key: train.KEY"),
        ("env={A: 1}", "`env` is a section"),
        ("stage2=4", "`stage2` is a section"),
        ("stage2.train=4", "`train` is a section"),
        ("loader.val=3", "`loader.val` is a section"),
        ("stage1.stage2.epochs=3", "unknown key `stage2.epochs`"),
        ("stage9.epochs=4", "unknown key `stage9.epochs`\n  hint: `schedule.epochs` (a preset's key)"),
        ("imgsz=[1440, 808", "not a YAML value: did not find expected ',' or ']'"),
        (
            "imgsz=1440,808",
            '`train.imgsz` should be a whole number or a list; it is "1440,808"\n  hint: for example 1440',
        ),
        ("batch=", "`train.batch` should be a whole number; it is null"),
        ("batch=3: 4", '`train.batch` should be a whole number; it is {"3": 4}'),
        ("data=", "`data` should be text that is not empty"),
        ("data.path=x", "`data` takes a value: it has no keys below it"),
        ("env.A.B=3", "`env.A.B` is not a name that a variable can have"),
        ("env.=3", "`env.` is not a name that a variable can have"),
        ("tier=fast", "`tier` cannot be set here\n  hint: choose with --profile and --tier"),
        ("bacth=3", "unknown key `bacth`\n  hint: did you mean `train.batch`?"),
    ],
)
def test_a_bad_set_names_itself_and_the_way_out(text: str, message: str) -> None:
    (problem,) = problems_of(sets=[text])
    assert problem.startswith(f"--set {text}: {message}")


def test_a_relative_path_in_a_file_starts_at_that_file() -> None:
    folder = Path("elsewhere").absolute()
    folder.mkdir()
    (folder / "here.pt").touch()
    (folder / "stage-1").mkdir()
    path = folder / "mine.yaml"

    def settled(text: str) -> tuple[str | None, str | None]:
        path.write_text(text)
        config = settle(files=[path]).config
        return config.data, config.weights

    assert settled("data: fasdd.yaml\nweights: here.pt\n") == (f"{folder}/fasdd.yaml", f"{folder}/here.pt")
    assert settled("data: ../fasdd.yaml\nweights: sub/x.pt\n") == (f"{folder.parent}/fasdd.yaml", f"{folder}/sub/x.pt")
    assert settled("data: /abs/fasdd.yaml\nweights: yolov8n.pt\n") == ("/abs/fasdd.yaml", "yolov8n.pt")
    assert settled("stage1: {data: fasdd.yaml}\nweights: stage-1\n") == (f"{folder}/fasdd.yaml", "stage-1")


def test_a_tilde_is_the_home_folder_wherever_a_path_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/anna")
    assert settle(project="data: ~/fasdd.yaml\n").config.data == "/home/anna/fasdd.yaml"
    assert settle(sets=["data=~/fasdd.yaml"]).config.data == "/home/anna/fasdd.yaml"
    assert settle(environment={"SAINET_DATA": "~/fasdd.yaml"}).config.data == "/home/anna/fasdd.yaml"
    assert settle(sets=["data=~nobody-of-that-name/x.yaml"]).config.data == str(
        Path.cwd() / "~nobody-of-that-name/x.yaml"
    )


def test_environment_variables_in_yaml_are_text_as_they_are_written() -> None:
    text = "env: {A: 8, B: on, C: 'max:512', D: 1:30, E: 0x10, F: 1.50, G: ''}\n"
    assert settle(project=text).config.env == {
        "A": "8", "B": "on", "C": "max:512", "D": "1:30", "E": "0x10", "F": "1.50", "G": "",
    }  # fmt: skip


def test_an_environment_variable_without_a_value_is_an_error() -> None:
    assert problems_of(project="env:\n  A:\n  B: null\n  C: [1]\n") == [
        "sainet.yaml:2: `env.A` should be text; it is null\n  hint: give it a value, or leave it out for the default",
        "sainet.yaml:3: `env.B` should be text; it is null\n  hint: give it a value, or leave it out for the default",
        "sainet.yaml:4: `env.C` should be text; it is [1]",
    ]


def test_empty_sections_set_nothing() -> None:
    text = "train:\nloader:\n  val:\nenv:\nstage1:\nstage2:\n  train:\n"
    assert settle(project=text).config == settle(project="").config


def test_auto_asks_the_machine() -> None:
    two = HardwareValues(cpus=12, gpus=("NVIDIA A10G", "NVIDIA A10G"))
    own = Path("mine.yaml")
    own.write_text("train: {batch: 8}\n")
    one_gpu = settle(profile="mine.yaml", hardware=two)
    assert (one_gpu.config.train.device, one_gpu.config.loader.workers) == (0, 8)
    assert str(one_gpu.origin("train.device")) == "auto: GPU 0 is NVIDIA A10G"
    both = settle(profile="mine.yaml", hardware=two, sets=["device=0,1"])
    assert both.config.loader.workers == 6
    no_gpu = settle(profile="mine.yaml")
    assert (no_gpu.config.train.device, no_gpu.config.loader.workers) == ("cpu", 0)


@pytest.mark.parametrize(
    ("gpus", "profile"),
    [
        ((), "cpu"),
        (("NVIDIA H200",), "h200"),
        (("NVIDIA A10G",), "a10g"),
        (("NVIDIA A100-SXM4-40GB",) * 2, "a100x2"),
    ],
)
def test_profile_auto_picks_by_the_gpus(gpus: tuple[str, ...], profile: str) -> None:
    assert settle(profile="auto", hardware=HardwareValues(16, gpus)).profile == profile


@pytest.mark.parametrize("gpus", [("Tesla T4",), ("NVIDIA H200",) * 2])
def test_profile_auto_refuses_a_machine_that_no_profile_is_for(gpus: tuple[str, ...]) -> None:
    (problem,) = problems_of(profile="auto", hardware=HardwareValues(16, gpus))
    assert problem.startswith(f"--profile auto: no shipped profile is written for this machine ({', '.join(gpus)})")
    assert "sainet profiles cp h200" in problem
