"""memory.csv: what is written is read again, whatever a kill or a full disk has done to it, and nothing is guessed."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import DiskMaker
from fakes import GIB
from guard_cases import ram, vram

from sainet.errors import UsageError
from sainet.guard.sample import GpuSample, Sample
from sainet.guard.sample_file import SampleLog, read_samples

FULL = Sample(
    time_s=1_700_000_000.125,
    ram_working_set_bytes=20 * GIB,
    ram_limit_bytes=24 * GIB,
    shm_used_bytes=GIB,
    shm_size_bytes=2 * GIB,
    disk_free_bytes=100 * GIB,
    checkpoint_bytes=90_000_000,
    oom_kills=1,
    batch=4711,
    gpus=(GpuSample(3 * GIB, 40 * GIB, 2 * GIB, GIB), None, GpuSample(5 * GIB, 40 * GIB)),
)


def silent(text: str) -> None:
    raise AssertionError(f"warned: {text}")


def log(path: Path, *samples: Sample) -> SampleLog:
    """Written and closed, as one run does."""
    written = SampleLog(path)
    for sample in samples:
        written.append(sample)
    written.close()
    return written


def read(path: Path) -> list[Sample]:
    return read_samples(path, silent)


def file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "hand.csv"
    path.write_text(text, encoding="utf-8")
    return path


# --- there and back


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    samples = [FULL, Sample(FULL.time_s + 0.5, gpus=(None,) * 3)]
    assert log(tmp_path / "memory.csv", *samples).problem is None
    assert read(tmp_path / "memory.csv")[0] == FULL
    assert read(tmp_path / "memory.csv")[1] == Sample(FULL.time_s + 0.5)  # no figure of any GPU: nobody knows of three


def test_a_spreadsheet_sees_names_and_numbers(tmp_path: Path) -> None:
    log(tmp_path / "memory.csv", FULL)
    with (tmp_path / "memory.csv").open() as stream:
        (row,) = csv.DictReader(stream)
    assert row["time_s"] == "1700000000.125"
    assert row["ram_limit_bytes"] == str(24 * GIB)
    assert (row["gpu0_allocated_bytes"], row["gpu1_used_bytes"], row["gpu2_total_bytes"]) == (
        str(GIB),
        "",
        str(40 * GIB),
    )


def test_a_row_is_one_write(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from sainet.guard.sample_file import SampleLog;"
        "from sainet.guard.sample import Sample; log = SampleLog(Path(sys.argv[1]));"
        "[log.append(Sample(float(number))) for number in range(3)]"
    )
    trace = tmp_path / "trace"
    words = ["strace", "-f", "-e", "trace=write", "-o", str(trace), sys.executable, "-c", script]
    try:
        subprocess.run([*words, str(tmp_path / "memory.csv")], check=True, capture_output=True)
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no strace here ({error})")
    assert trace.read_text().count("write(") == 3


def test_a_second_run_goes_on_in_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "memory.csv"
    log(path, ram(1.0, 0.5))
    log(path, ram(2.0, 0.6))
    assert read(path) == [ram(1.0, 0.5), ram(2.0, 0.6)]
    assert path.read_text().count("time_s") == 1


# --- kills and full disks


def test_a_row_torn_by_a_kill_is_left_out_and_the_next_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "memory.csv"
    log(path, ram(1.0, 0.5), ram(2.0, 0.6))
    whole = path.read_bytes()
    for torn in range(1, len(whole.splitlines()[-1]) + 1):
        path.write_bytes(whole[:-torn])
        log(path, ram(3.0, 0.7))
        assert read(path) == [ram(1.0, 0.5), ram(3.0, 0.7)], f"{torn} bytes were lost"


def test_a_torn_header_is_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "memory.csv"
    for torn in ("", "time_s,ram_wor"):
        path.write_text(torn)
        log(path, ram(1.0, 0.5))
        assert read(path) == [ram(1.0, 0.5)]
    assert list(tmp_path.iterdir()) == [path]


def test_a_torn_last_row_is_told_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "memory.csv"
    log(path, ram(1.0, 0.5), ram(2.0, 0.6))
    path.write_bytes(path.read_bytes()[:-12])
    told: list[str] = []
    assert read_samples(path, told.append) == [ram(1.0, 0.5)]
    assert told == [f"{path}:3: the last row was not written to its end, and is left out"]


def test_a_full_disk_loses_rows_and_nothing_else(small_disk: DiskMaker) -> None:
    disk = small_disk("64k")
    written = SampleLog(disk / "memory.csv")
    written.append(ram(1.0, 0.5))
    ballast = disk / "ballast"
    fill(ballast)
    number = 2.0
    while written.problem is None:  # what is left of the last page
        written.append(ram(number, 0.5))
        number += 1
    assert written.problem == f"{disk / 'memory.csv'} cannot be written: No space left on device"
    ballast.unlink()
    written.append(ram(number, 0.6))
    assert written.problem is None
    samples = read(disk / "memory.csv")
    assert samples[-2:] == [ram(number - 2, 0.5), ram(number, 0.6)], "the row that did not fit is the only one missing"


def test_a_disk_that_is_full_from_the_start_gets_its_header_later(small_disk: DiskMaker) -> None:
    disk = small_disk("64k")
    fill(disk / "ballast")
    written = SampleLog(disk / "memory.csv")
    written.append(ram(1.0, 0.5))
    assert written.problem is not None
    (disk / "ballast").unlink()
    written.append(ram(2.0, 0.5))
    assert read(disk / "memory.csv") == [ram(2.0, 0.5)]


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as stream:
        try:
            while True:
                stream.write(bytes(1024))
        except OSError:
            return


def test_a_folder_that_is_not_there_raises_nothing(tmp_path: Path) -> None:
    written = log(tmp_path / "gone" / "memory.csv", ram(1.0, 0.5))
    assert written.problem is not None
    assert written.problem.endswith("No such file or directory")


# --- another header


def test_another_number_of_gpus_begins_another_file(tmp_path: Path) -> None:
    path = tmp_path / "memory.csv"
    log(path, vram(1.0, 0.5))
    log(path, vram(2.0, 0.5, 0.6))
    log(path, vram(3.0, 0.7))
    assert [read(tmp_path / name) for name in ("memory.1.csv", "memory.2.csv", "memory.csv")] == [
        [vram(1.0, 0.5)],
        [vram(2.0, 0.5, 0.6)],
        [vram(3.0, 0.7)],
    ]


def test_a_file_of_somebody_else_is_kept(tmp_path: Path) -> None:
    path = file(tmp_path, "a,b\n1,2\n")
    log(path, ram(1.0, 0.5))
    assert (tmp_path / "hand.1.csv").read_text() == "a,b\n1,2\n"
    assert read(path) == [ram(1.0, 0.5)]


def test_a_clock_that_was_set_back_begins_another_file(tmp_path: Path) -> None:
    path = tmp_path / "memory.csv"
    log(path, ram(100.0, 0.5), ram(50.0, 0.6), ram(51.0, 0.6))
    log(path, ram(10.0, 0.7))
    assert read(tmp_path / "memory.1.csv") == [ram(100.0, 0.5)]
    assert read(tmp_path / "memory.2.csv") == [ram(50.0, 0.6), ram(51.0, 0.6)]
    assert read(path) == [ram(10.0, 0.7)]


# --- written by hand


def test_columns_may_come_in_any_order_and_be_missing(tmp_path: Path) -> None:
    text = "\ufeffram_limit_bytes, time_s ,ram_working_set_bytes\n\n1e3,0,500\n1000,1.5,\n"
    assert read(file(tmp_path, text)) == [
        Sample(0.0, ram_working_set_bytes=500, ram_limit_bytes=1000),
        Sample(1.5, ram_limit_bytes=1000),
    ]


def test_a_last_line_without_its_end_counts(tmp_path: Path) -> None:
    assert read(file(tmp_path, "time_s,batch\n0,1\n1,2")) == [Sample(0.0, batch=1), Sample(1.0, batch=2)]


@pytest.mark.parametrize(
    ("header", "warning"),
    [
        ("time_s,ram_bytes", "the column `ram_bytes` is not looked at"),
        ("time_s,shm_used", "the column `shm_used` is not looked at; did you mean shm_used_bytes?"),
        ("time_s,gpu0_bytes", "the column `gpu0_bytes` is not looked at"),
        ("time_s,ram_working_set_bytes", "the column ram_working_set_bytes says nothing without ram_limit_bytes"),
        ("time_s,gpu1_total_bytes", "the column gpu1_total_bytes says nothing without gpu1_used_bytes"),
    ],
)
def test_a_column_that_is_not_looked_at_is_told(tmp_path: Path, header: str, warning: str) -> None:
    told: list[str] = []
    path = file(tmp_path, f"{header}\n0,1\n")
    read_samples(path, told.append)
    (text,) = told
    assert text.startswith(f"{path}:1: {warning}")


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 1, "there are no samples in it"),
        ("time_s,batch\n", 1, "there are no samples in it"),
        ("batch,oom_kills\n1,2\n", 1, "there is no column time_s"),
        ("time_s,batch,batch\n1,2,3\n", 1, "the column batch is there twice"),
        ("time_s,batch\n0,1\n,2\n", 3, "there is no time_s in this row"),
        ("time_s,batch\n0,many\n", 2, "batch is `many`"),
        ("time_s,batch\n0,-1\n", 2, "batch is `-1`"),
        ("time_s,batch\n0,nan\n", 2, "batch is `nan`"),
        ("time_s,batch\ninf,1\n", 2, "time_s is `inf`"),
        ("time_s,batch\n\n0,1\n0,1,2\n", 4, "3 cells, but 2 columns"),
        ("time_s,batch\n0\n1,1\n", 2, "1 cells, but 2 columns"),
        ("time_s,batch\n5,1\n4.5,1\n", 3, "time_s goes back, from 5.000 to 4.500"),
    ],
)
def test_what_cannot_be_read_says_where_and_what_to_do(tmp_path: Path, text: str, line: int, message: str) -> None:
    path = file(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        read(path)
    (problem,) = caught.value.problems
    assert (problem.where, problem.message) == (f"{path}:{line}", message)
    assert problem.hint


@pytest.mark.parametrize("is_folder", [False, True])
def test_a_file_that_cannot_be_opened_is_a_usage_error(tmp_path: Path, is_folder: bool) -> None:
    path = tmp_path / "memory.csv"
    if is_folder:
        path.mkdir()
    with pytest.raises(UsageError) as caught:
        read(path)
    assert caught.value.problems[0].where == str(path)
    assert caught.value.hint
