"""Label files: every row is judged as Ultralytics judges it."""

import random
from pathlib import Path

import pytest
from data_check_cases import picture

from sainet.data.check.kinds import KINDS
from sainet.data.check.picture import look_at
from sainet.data.check.rows import Row, Trouble, read_labels

KEPT = {"box-empty"}
"""Errors of a label file that do not make Ultralytics drop the image: it trains on what cannot be learned."""


def kinds(text: str, classes: int = 2) -> list[tuple[str, int | None]]:
    return [(trouble.kind, trouble.line) for trouble in read_labels(text.encode(), classes).troubles]


def test_rows_keep_their_lines_across_empty_ones() -> None:
    labels = read_labels(b"\n1 0.5 0.25 0.1 0.2\n\n \n0 0.5 0.5 0.5 0.5", 2)
    assert labels.rows == [Row(2, 1, 0.5, 0.25, 0.1, 0.2), Row(5, 0, 0.5, 0.5, 0.5, 0.5)]
    assert labels.troubles == []
    assert not labels.empty
    assert read_labels(b" \r \n", 2).empty


def test_one_file_may_have_several_troubles() -> None:
    assert kinds("0 .5 .5 .1 .1\n9 .5 .5 .1\n-1 .5 .5 .1 .1\n1 .5 .5 .1 x\n0.0 .5 .5 .1 .1\n") == [
        ("row-columns", 2),
        ("class-range", 3),
        ("row-numbers", 4),
        ("class-float", 5),
        ("row-duplicate", 5),
    ]


def test_a_message_shows_no_more_than_the_start_of_a_long_row() -> None:
    (trouble,) = read_labels(b"<html>" * 1000, 2).troubles
    assert trouble.kind == "row-numbers"
    assert len(trouble.message) < 140


def test_a_polygon_counts_as_the_box_around_it() -> None:
    labels = read_labels(b"1 0.1 0.2 0.5 0.2 0.5 0.6\n0 0 0 0.5 0 0.5 0.5 0 0.5\n", 2)
    assert labels.troubles == [Trouble("row-polygon", 1, "2 polygons, of which the boxes around them are trained on")]
    assert labels.rows[1] == Row(2, 0, 0.25, 0.25, 0.5, 0.5)
    assert labels.rows[0][2:] == pytest.approx((0.3, 0.4, 0.4, 0.4))


def test_polygons_are_the_same_only_if_all_their_points_are() -> None:
    one, other = "1 0.1 0.1 0.5 0.1 0.5 0.6", "1 0.1 0.1 0.5 0.1 0.5 0.6 0.1 0.6"
    assert kinds(f"{one}\n{other}\n") == [("row-polygon", 1)]
    assert kinds(f"{one}\n{other}\n{one}\n") == [("row-polygon", 1), ("row-duplicate", 3)]


def test_a_polygon_of_an_odd_number_of_coordinates_has_wrong_columns() -> None:
    assert kinds("1 0.1 0.1 0.5 0.1 0.5 0.6 0.1\n") == [("row-polygon", 1), ("row-columns", 1)]


@pytest.mark.parametrize(("edge", "told"), [(1.00009, []), (1.0002, [("box-edge", 1)])])
def test_rounding_at_the_edge_is_no_finding(edge: float, told: list[tuple[str, int]]) -> None:
    assert kinds(f"0 {edge - 0.05} 0.5 0.1 0.1") == told


@pytest.mark.usefixtures("sealed_ultralytics")
def test_an_image_is_dropped_by_ultralytics_just_where_we_say_so(tmp_path: Path) -> None:
    """Label files put together by chance from rows of all sorts, against Ultralytics' own check."""
    from ultralytics.data.utils import verify_image_label

    image, label = tmp_path / "a.jpg", tmp_path / "a.txt"
    picture("a").save(image)
    chance, seen = random.Random(0), {True: 0, False: 0}
    for _ in range(3000):
        data = _some_labels(chance)
        label.write_bytes(data)
        *_, corrupt, message = verify_image_label((str(image), str(label), "", False, 2, 0, 0, False))
        errors = {trouble.kind for trouble in read_labels(data, 2).troubles if KINDS[trouble.kind].severity == "error"}
        assert bool(errors - KEPT) == bool(corrupt), (data, errors, message)
        seen[bool(corrupt)] += 1
    assert min(seen.values()) > 500, "both ends are common"


@pytest.mark.usefixtures("sealed_ultralytics")
def test_the_rows_are_those_that_ultralytics_reads(tmp_path: Path) -> None:
    from ultralytics.data.utils import verify_image_label

    image, label = tmp_path / "a.jpg", tmp_path / "a.txt"
    picture("a").save(image)
    chance = random.Random(1)
    for _ in range(500):
        data = _some_labels(chance)
        label.write_bytes(data)
        _, theirs, *_, corrupt, _ = verify_image_label((str(image), str(label), "", False, 2, 0, 0, False))
        if corrupt:
            continue
        labels = read_labels(data, 2)
        twice = {trouble.line for trouble in labels.troubles if trouble.kind == "row-duplicate"}
        ours = sorted(row[1:] for row in labels.rows if row.line not in twice)
        assert len(ours) == len(theirs), data
        for one, other in zip(ours, sorted(map(tuple, theirs.tolist())), strict=True):
            assert one == pytest.approx(other, abs=1e-6), data


_WORDS = [
    "0",
    "1",
    "0.5",
    "0.25",
    "1.0",
    "0.999",
    "1.005",
    "1.02",
    "-0.005",
    "-0.02",
    "2",
    "nan",
    "inf",
    "320",
    "x",
    "0,5",
]
_GOOD = ["0.5", "0.25", "0.125", "0.75"]
_CLASSES = ["0", "1", "0", "1", "0", "1", "1.0", "2", "-1", "0.5", "nan"]


def _some_labels(chance: random.Random) -> bytes:
    columns = chance.choice([5, 5, 5, 5, 7, 9])
    lines = [_some_row(chance, columns) for _ in range(chance.randint(0, 4))]
    if chance.random() < 0.3:
        lines += lines[:1]
    data = chance.choice(["\n", "\r\n", "\n\n", "\r"]).join(lines).encode()
    return chance.choice([b"", b"", b"\xef\xbb\xbf", b"\n \n"]) + data + chance.choice([b"", b"", b"", b"\xff"])


def _some_row(chance: random.Random, columns: int) -> str:
    columns = chance.choice([columns] * 12 + [4, 6, 8, 1])
    others = [chance.choice(_GOOD) for _ in range(columns - 1)]
    if others and chance.random() < 0.25:
        others[chance.randrange(len(others))] = chance.choice(_WORDS)
    return chance.choice([" ", " ", "\t", "  "]).join([chance.choice(_CLASSES), *others])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(4))
def test_a_damaged_image_never_raises(tmp_path: Path, seed: int) -> None:
    """Bytes changed by chance: whatever Pillow's readers raise becomes a finding, or nothing."""
    chance, path = random.Random(seed), tmp_path / "a.img"
    form = ["JPEG", "PNG", "WEBP", "TIFF"][seed]
    picture("a", (40, 30)).save(path, form)
    whole = path.read_bytes()
    for _ in range(100):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 8)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        path.write_bytes(data)
        look_at(str(path))
