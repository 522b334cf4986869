"""The journal of a long work: parts count once their line is whole, and only for what was asked."""

from pathlib import Path

import pytest

from sainet.data.journal import Journal
from sainet.errors import RunLockedError, UsageError

REQUEST = {"source": "/a", "options": [1, 2], "how": None}


def test_parts_and_their_results_are_there_again(tmp_path: Path) -> None:
    with Journal(tmp_path / "new" / "journal", REQUEST) as journal:
        journal.add({"images": 3})
        journal.add(["ü\n"])
        assert list(journal.results()) == [{"images": 3}, ["ü\n"]]
    with Journal(tmp_path / "new" / "journal", dict(REQUEST)) as journal:
        assert journal.count == 2
        journal.add(None)
        assert list(journal.results()) == [{"images": 3}, ["ü\n"], None]


def test_cut_at_any_byte_whole_lines_count_and_the_rest_is_done_again(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with Journal(path, REQUEST) as journal:
        for number in range(3):
            journal.add({"number": number})
    data = path.read_bytes()
    for length in range(len(data) + 1):
        path.write_bytes(data[:length])
        with Journal(path, REQUEST) as journal:
            assert journal.count == max(0, data[:length].count(b"\n") - 1)
            for number in range(journal.count, 3):
                journal.add({"number": number})
        assert path.read_bytes() == data


def test_another_request_is_refused_with_what_differs(tmp_path: Path) -> None:
    Journal(tmp_path / "journal", REQUEST).__exit__(None, None, None)
    with pytest.raises(UsageError, match=r"begun otherwise: more was null and is 1, options was \[1, 2\] and is \[1\]"):
        Journal(tmp_path / "journal", {**REQUEST, "options": [1], "more": 1})
    with Journal(tmp_path / "journal", REQUEST) as journal:
        assert journal.count == 0


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal", REQUEST), pytest.raises(RunLockedError, match=str(tmp_path)):
        Journal(tmp_path / "journal", REQUEST)
    with Journal(tmp_path / "journal", REQUEST):
        pass


def test_a_file_in_the_place_of_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "set").write_text("", encoding="utf-8")
    with pytest.raises(UsageError, match="no folder"):
        Journal(tmp_path / "set" / "journal", REQUEST)
