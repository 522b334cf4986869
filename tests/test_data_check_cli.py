"""`sainet data check` as it is typed: what it prints where, and how it ends."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from data_check_cases import Folder, snapshot
from PIL import Image
from running import sainet, spawn
from typer.testing import CliRunner, Result

from sainet.cli.data import app
from sainet.data.pool import in_parallel
from sainet.errors import DataError, SainetError, UsageError
from sainet.hardware.cpu import usable_cpus


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "set")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["check", *map(str, arguments)])


def test_warnings_alone_end_with_0_and_errors_with_5_and_both_print_one_object(folder: Folder, tmp_path: Path) -> None:
    folder.say("1.0 0.5 0.5 0.1 0.1")
    warned = sainet("data", "check", folder.yaml, "--json", cwd=tmp_path)
    assert warned.returncode == 0
    _, line = folder.say("1.0 0.5 0.5 0.1 0.1", "2 0.5 0.5 0.1 0.1")
    failed = sainet("data", "check", folder.yaml, "--json", cwd=tmp_path)
    assert failed.returncode == 5
    assert "error: " in failed.stderr
    assert "1 finding that Ultralytics would silently drop, change or mis-train" in failed.stderr
    before, after = json.loads(warned.stdout), json.loads(failed.stdout)
    assert before.keys() == after.keys() == {"findings", "summary"}
    assert after["findings"][0] == {
        "kind": "class-range",
        "severity": "error",
        "file": str(folder.label()),
        "line": line,
        "message": "class 2 is not one of 0 to 1, so Ultralytics drops the image",
        "fix": "leaves the row out",
    }
    assert before["findings"] == after["findings"][1:]
    assert (after["summary"]["errors"], after["summary"]["warnings"]) == (1, 1)
    assert after["summary"]["kinds"]["class-range"] == {"severity": "error", "count": 1}


def test_people_see_the_first_of_each_kind_the_counts_and_what_to_do(folder: Folder) -> None:
    folder.say(*["7 0.5 0.5 0.1 0.1", "8 0.5 0.5 0.1 0.1", "9 0.5 0.5 0.1 0.1", "3 0.5 0.5 0.1 0.1"])
    result = run(folder.yaml)
    assert isinstance(result.exception, DataError)
    lines = result.stdout.splitlines()
    assert lines[0] == "error class-range: classes that the YAML does not have"
    assert lines[1] == f"  {folder.label()}:2: class 7 is not one of 0 to 1, so Ultralytics drops the image"
    assert lines[4:6] == ["  and 1 more", "  clean: leaves the row out"]
    assert re.search(r"^class-range +error +4 ", result.stdout, re.MULTILINE)
    assert re.search(r"^train +8 +8 +0 +0 +8 fire, 7 smoke", result.stdout, re.MULTILINE)
    assert "checked 12 of 12 images" in result.stderr


def test_nothing_found_is_said(folder: Folder) -> None:
    result = run(folder.yaml, "--labels-only")
    assert result.exit_code == 0
    assert result.stdout.endswith("nothing found\n")


@pytest.mark.parametrize(("names", "line"), [("[fire, smoke]", 2), ("{0: fire, 2: smoke}", None)])
def test_a_yaml_that_cannot_be_used_is_a_finding_and_one_that_is_not_there_is_not(
    folder: Folder, names: str, line: int | None
) -> None:
    folder.yaml.write_text(f"train: images/train\nval: nowhere\nnames: {names}\n", encoding="utf-8")
    result = run(folder.yaml, "--json")
    assert isinstance(result.exception, DataError)
    (finding,) = json.loads(result.stdout)["findings"]
    assert (finding["kind"], finding["file"], finding["line"]) == ("yaml", str(folder.yaml), line)
    absent = run(folder.root / "no.yaml", "--json")
    assert isinstance(absent.exception, DataError)
    assert absent.stdout == ""


def test_names_in_old_encodings_and_with_brackets_are_printed(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "utf-8:strict")
    for name in ("\udcff[bold]", "<b>&amp;[red]"):
        folder.add("train", name, text="7 0.5 0.5 0.1 0.1\n")
    report = tmp_path / "report.html"
    done = sainet("data", "check", folder.yaml, "--report", report, cwd=tmp_path)
    assert done.returncode == 5
    assert "[bold].txt:1: class 7" in done.stdout
    assert "<b>&amp;[red].txt:1: class 7" in done.stdout
    assert "Traceback" not in done.stderr
    text = report.read_text(encoding="utf-8")
    assert "&lt;b&gt;&amp;amp;[red].txt:1" in text
    assert "<b>&amp;" not in text


def test_the_report_is_one_file_with_pictures(folder: Folder, tmp_path: Path) -> None:
    folder.say("7 0.5 0.5 0.1 0.1")
    folder.image("train", "train1").write_bytes(b"no image")
    before = snapshot(folder.root)
    result = run(folder.yaml, "--report", tmp_path / "report.html")
    assert isinstance(result.exception, DataError)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert text.count('src="data:image/jpeg;base64,') == 1, "one of the two images decodes"
    assert re.findall(r"(?:src|href)=\"(?!data:)", text) == []
    assert f"{folder.label()}:2" in text
    assert str(folder.image("train", "train1")) in text
    assert snapshot(folder.root) == before


def test_a_report_in_a_folder_that_is_not_there_is_refused_before_the_work(folder: Folder, tmp_path: Path) -> None:
    result = run(folder.yaml, "--report", tmp_path / "no" / "report.html")
    assert isinstance(result.exception, UsageError)
    assert result.stdout == ""


def large_set(folder: Folder) -> None:
    """What keeps two processes busy for some seconds."""
    first = folder.image("train", "large0")
    Image.effect_noise((1200, 900), 90).convert("RGB").save(first, quality=95)
    for number in range(1, 200):
        folder.image("train", f"large{number}").hardlink_to(first)


def spawn_interruptible(*arguments: str | Path, cwd: Path) -> "subprocess.Popen[str]":
    """As `spawn`, also where these tests run in the background of a shell, which lets them ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return spawn(*arguments, cwd=cwd)
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_no_process_is_left_behind(folder: Folder, tmp_path: Path, number: int) -> None:
    large_set(folder)
    process = spawn_interruptible("data", "check", folder.yaml, cwd=tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("checked ")
    workers = psutil.Process(process.pid).children(recursive=True)
    if usable_cpus() > 1:
        assert len(workers) >= 2
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does
    else:
        process.kill()
    printed, _ = process.communicate(timeout=30)
    assert process.returncode == {signal.SIGKILL: -9, signal.SIGINT: 130}[number]
    assert "Traceback" not in printed
    assert psutil.wait_procs(workers, timeout=10)[1] == []


def test_a_worker_that_is_killed_ends_the_check_with_its_reason() -> None:
    with pytest.raises(SainetError, match="was killed"):
        list(in_parallel(kill_itself, range(8), 2))


def kill_itself(_part: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_torch_ultralytics_and_opencv_stay_out_of_the_process(folder: Folder, tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from sainet.data.check.checking import check_data\n"
        "from sainet.data.check.page import page_of\n"
        "page_of(check_data(sys.argv[1]))\n"
        "print(sorted({'torch', 'ultralytics', 'cv2'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", script, folder.yaml], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout == "[]\n", done.stderr
