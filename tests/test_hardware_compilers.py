"""What torch.compile needs on a machine: looked for where Triton and Inductor look."""

from pathlib import Path

import pytest

from sainet.hardware import compilers
from sainet.hardware.compilers import compile_obstacle


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A folder that stands for the whole of PATH; `install` puts programs into it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    return folder


def install(tools: Path, *names: str) -> None:
    for name in names:
        (tools / name).write_text("#!/bin/sh\n")
        (tools / name).chmod(0o755)


@pytest.fixture
def headers(tmp_path: Path) -> Path:
    folder = tmp_path / "include"
    folder.mkdir()
    (folder / "Python.h").touch()
    return folder


def reason(tools: Path, headers: Path, *, on_gpu: bool, **variables: str) -> str | None:
    found = compile_obstacle({"PATH": str(tools), **variables}, on_gpu=on_gpu, include=headers)
    return found.reason if found else None


@pytest.mark.parametrize(("on_gpu", "compiler"), [(True, "gcc"), (True, "clang"), (False, "g++")])
def test_one_compiler_is_enough(tools: Path, headers: Path, on_gpu: bool, compiler: str) -> None:
    assert reason(tools, headers, on_gpu=on_gpu) is not None
    install(tools, compiler)
    assert reason(tools, headers, on_gpu=on_gpu) is None


@pytest.mark.parametrize(("on_gpu", "compiler"), [(True, "g++"), (False, "gcc"), (False, "clang++")])
def test_another_one_does_not_help(tools: Path, headers: Path, on_gpu: bool, compiler: str) -> None:
    install(tools, compiler)
    assert reason(tools, headers, on_gpu=on_gpu) is not None


def test_a_compiler_named_in_the_environment_is_the_only_one_that_counts(tools: Path, headers: Path) -> None:
    install(tools, "gcc", "g++", "mine")
    assert reason(tools, headers, on_gpu=True, CC="mine") is None
    assert reason(tools, headers, on_gpu=True, CC="theirs") is not None
    assert reason(tools, headers, on_gpu=False, CXX="mine -O1") is None
    assert reason(tools, headers, on_gpu=False, CXX="theirs -O1") is not None
    assert reason(tools, headers, on_gpu=False, CXX="mine 'open") is not None


@pytest.mark.parametrize("on_gpu", [True, False])
def test_pythons_headers_are_needed_too(tools: Path, tmp_path: Path, on_gpu: bool) -> None:
    install(tools, "gcc", "g++")
    found = compile_obstacle({"PATH": str(tools)}, on_gpu=on_gpu, include=tmp_path)
    assert found is not None
    assert found.reason == f"Python's headers are missing ({tmp_path}/Python.h)"
    assert found.remedy.startswith("apt install python3.")


def test_a_gpu_needs_triton(tools: Path, headers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tools, "gcc", "g++")
    monkeypatch.setattr(compilers, "find_spec", lambda _: None)
    assert reason(tools, headers, on_gpu=True) == "the package triton is not installed"
    assert reason(tools, headers, on_gpu=False) is None


def test_triton_itself_agrees_about_the_compiler(tools: Path, headers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached = getattr(pytest.importorskip("triton.runtime.build"), "_find_compiler", None)
    if cached is None:
        pytest.skip("this Triton looks for its compiler elsewhere")
    find = cached.__wrapped__
    monkeypatch.setenv("PATH", str(tools))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(RuntimeError, match="Failed to find C compiler"):
        find("c")
    assert reason(tools, headers, on_gpu=True) is not None
    install(tools, "clang")
    assert find("c") == str(tools / "clang")
    assert reason(tools, headers, on_gpu=True) is None
