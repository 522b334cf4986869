"""What is shipped: the wheel carries the profiles, and every error is listed and has its documented exit code."""

import inspect
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import sainet.errors as errors

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    words = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(words, cwd=ROOT, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_profiles_presets_schemas_and_the_typing_marker(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    shipped = {str(path.relative_to(ROOT)) for path in (ROOT / "configs").rglob("*.*")}
    assert len(shipped) >= 10
    assert {f"sainet/{name}" for name in shipped} <= names
    assert "sainet/py.typed" in names
    assert not [name for name in names if name.endswith((".pt", ".jpg")) or name.startswith("tests")]


def test_an_installed_wheel_finds_its_profiles_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    listed = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sainet, sainet.cli.app as a; print(sainet.__file__); a.main()",
            "profiles",
            "ls",
        ],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
    )
    assert listed.stdout.startswith(str(tmp_path / "site")), listed.stderr
    for profile in ("h200", "h200-shm", "a100x2", "a10g", "cpu"):
        assert profile in listed.stdout


def test_every_error_is_exported_and_drawn_in_the_tree_with_its_exit_code() -> None:
    defined = {
        name: item
        for name, item in vars(errors).items()
        if inspect.isclass(item) and issubclass(item, errors.SainetError) and item.__module__ == "sainet.errors"
    }
    assert defined.keys() <= set(errors.__all__)
    tree = (errors.__doc__ or "").splitlines()
    for name, item in defined.items():
        assert any(name in line and str(item.exit_code) in line.split() for line in tree), name
