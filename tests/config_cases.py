"""What the tests of the configuration share: resolving in a folder of its own, and the problems as text."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from sainet.config.auto import HardwareValues
from sainet.config.layers import split_set
from sainet.config.resolve import Resolved, resolve
from sainet.errors import ConfigError
from sainet.protocol import Stage
from sainet.state import Request

CPU_MACHINE = HardwareValues(cpus=16)


def settle(
    *,
    stage: Stage = 1,
    profile: str = "cpu",
    tier: str | None = None,
    project: str | None = None,
    files: Sequence[Path] = (),
    sets: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    hardware: HardwareValues = CPU_MACHINE,
) -> Resolved:
    """Resolve in the working directory, with `project` as its sainet.yaml."""
    if project is not None:
        Path("sainet.yaml").write_text(project, encoding="utf-8")
    request = Request(
        profile=profile,
        tier=tier,
        config_files=[str(path.absolute()) for path in files],
        sets=[split_set(text) for text in sets],
    )
    return resolve(stage, request, hardware, environment=environment or {}, folder=Path.cwd())


def on_gpu(*sets: str, gpus: int = 1, stage: Stage = 1) -> Resolved:
    """A configuration that one GPU can start with either engine, and `sets` over it."""
    base = ["train.device=0", "train.imgsz=640", "loader.workers=4", "train.amp=true"]
    kept = [text for text in base if text.partition("=")[0] not in {s.partition("=")[0] for s in sets}]
    return settle(stage=stage, sets=[*kept, *sets], hardware=HardwareValues(cpus=16, gpus=("NVIDIA H200",) * gpus))


def problems_of(**wanted: object) -> list[str]:
    """Every problem of a configuration that must not resolve, each as `where: message\\n  hint: ...`."""
    with pytest.raises(ConfigError) as caught:
        settle(**wanted)  # type: ignore[arg-type]
    assert caught.value.code == 2
    return [str(problem) for problem in caught.value.problems]


def profile_file(text: str) -> str:
    """A profile of the user's own in the working directory, as `--profile` takes it."""
    Path("mine.yaml").write_text(text, encoding="utf-8")
    return "mine.yaml"
