"""Reading YAML: lines are remembered, and what PyYAML would let pass or crash on is an error with its place."""

from pathlib import Path

import pytest

from sainet.config.document import Entry, Items, parse_entries, parse_value, read_entries, written
from sainet.errors import ConfigError


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_entries(text, "f.yaml")
    return [str(problem) for problem in caught.value.problems]


def values(text: str) -> dict[str, object]:
    return {entry.key: entry.value for entry in parse_entries(text, "f.yaml")}


def test_a_leaf_has_its_dotted_key_its_value_its_text_and_its_line() -> None:
    entries = parse_entries("# head\ntrain:\n  batch: 0x10\nenv: {A: 8}\n", "f.yaml")
    assert entries == [Entry("train.batch", 16, "0x10", 3), Entry("env.A", 8, "8", 4)]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("5E2", 500.0),
        ("-2e+1", -20.0),
        ("1.5e-4", 0.00015),
        ("0.01", 0.01),
        ("[1440, 808]", [1440, 808]),
    ],
)
def test_numbers_are_read_as_yaml_1_2_reads_them(text: str, value: object) -> None:
    assert values(f"optim: {{lr0: {text}}}") == {"optim.lr0": value}
    assert parse_value(text) == value


def test_text_that_only_looks_like_a_float_stays_text() -> None:
    assert values("a: 1e\nb: e5\nc: 0,1\n") == {"a": "1e", "b": "e5", "c": "0,1"}


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n", "null\n"])
def test_a_file_without_content_sets_nothing(text: str) -> None:
    assert parse_entries(text, "f.yaml") == []


@pytest.mark.parametrize("text", ["- a\n", "hello\n", "3\n", "[a, b]\n"])
def test_a_file_that_is_no_mapping_is_refused(text: str) -> None:
    assert problems(text) == ["f.yaml:1: expected `key: value` lines"]


def test_a_key_said_twice_names_both_lines() -> None:
    assert problems("train:\n  batch: 3\n  imgsz: 640\n  batch: 4\ntrain: {}\n") == [
        "f.yaml:4: `train.batch` is set twice (first on line 2)\n  hint: keep one of the two",
        "f.yaml:5: `train` is set twice (first on line 1)\n  hint: keep one of the two",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train:\n\tbatch: 3\n", "f.yaml:2: not valid YAML: found character that cannot start any token"),
        ("a: 1\ntrain: {batch: 3\n", "f.yaml:3: not valid YAML: did not find expected ',' or '}'"),
        ("a: 1\n b: 2\n", "f.yaml:2: not valid YAML: mapping values are not allowed in this context"),
        ("a: 1\n---\na: 2\n", "f.yaml:2: not valid YAML: but found another document"),
        ("a: 1\nb: 2024-99-99\n", "f.yaml:2: not valid YAML: month must be in 1..12"),
        ("a: !!int x\n", "f.yaml:1: not valid YAML: invalid literal for int() with base 10: 'x'"),
        ("a: !!python/object/apply:os.system [id]\n", "could not determine a constructor"),
        ("a: &x [*x]\n", "f.yaml:1: not valid YAML: found unconstructable recursive node"),
        ("a: *nobody\n", "f.yaml:1: not valid YAML: found undefined alias"),
        ("train:\n  <<: 3\n", "f.yaml:2: not valid YAML: expected a mapping or list of mappings for merging"),
    ],
)
def test_bad_yaml_is_an_error_with_its_line(text: str, message: str) -> None:
    (problem,) = problems(text)
    assert message in problem
    assert "hint: check indentation, colons and quotes" in problem


def test_control_characters_are_an_error() -> None:
    (problem,) = problems("a: 1\x00\n")
    assert problem.startswith("f.yaml: not YAML: ")
    assert "\n" not in problem


@pytest.mark.parametrize("key", ["? [a, b]\n: 3\n", "? {a: b}\n: 3\n"])
def test_a_key_that_is_no_name_is_refused(key: str) -> None:
    assert problems(key) == ["f.yaml:1: a key is a list or a mapping\n  hint: keys are names"]


def test_a_dotted_key_in_a_file_is_refused_so_that_it_cannot_hide_a_duplicate() -> None:
    assert problems("train.batch: 3\ntrain:\n  batch: 4\n") == [
        "f.yaml:1: `train.batch` has a dot inside one key\n  hint: write `train:` and below it `batch:`"
    ]


def test_a_list_of_mappings_remembers_where_their_keys_stand() -> None:
    (entry,) = parse_entries("a:\n  - {x: 1,\n     y: 2}\n  - 3\n  - x: 4\n", "f.yaml")
    assert entry.value == [{"x": 1, "y": 2}, 3, {"x": 4}]
    assert isinstance(entry.value, Items)
    assert entry.value.lines == [{"x": 2, "y": 3}, {}, {"x": 5}]
    assert not isinstance(parse_entries("a: [1, 2]\n", "f.yaml")[0].value, Items)


def test_a_key_said_twice_in_a_mapping_of_a_list_names_both_lines() -> None:
    assert problems("a:\n  - {x: 1}\n  - {x: 1,\n     x: 2}\n") == [
        "f.yaml:4: `a.x` is set twice (first on line 3)\n  hint: keep one of the two"
    ]


@pytest.mark.parametrize("text", ["train: &a\n  x: *a\n", "a: {b: {c: {d: {e: {f: {g: {h: 1}}}}}}}\n"])
def test_endless_and_senseless_nesting_is_refused(text: str) -> None:
    (problem,) = problems(text)
    assert "is nested too deeply" in problem


def test_brackets_by_the_thousand_are_refused() -> None:
    assert problems(f"a: {'[' * 3000}{']' * 3000}\n") == ["f.yaml: is nested too deeply"]


def test_a_merge_key_brings_what_the_mapping_does_not_say_itself() -> None:
    text = (
        "stage1: &one\n  train: {batch: 4, imgsz: 320}\n  loss: {box: 1.0}\nstage2:\n  <<: *one\n  train: {batch: 8}\n"
    )
    stage_2 = {key: value for key, value in values(text).items() if key.startswith("stage2")}
    assert stage_2 == {"stage2.train.batch": 8, "stage2.loss.box": 1.0}


def test_encodings(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_bytes(b"\xef\xbb\xbftrain: {batch: 3}\r\n")
    assert read_entries(path, "f.yaml")[0].value == 3
    for wrong in ("# é\n".encode("latin-1"), "a: 1\n".encode("utf-16")):
        path.write_bytes(wrong)
        with pytest.raises(ConfigError, match=r"f\.yaml: is not UTF-8 text") as caught:
            read_entries(path, "f.yaml")
        assert caught.value.hint == "save it as UTF-8"


def test_a_file_that_is_not_there_or_is_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"x\.yaml: no such file"):
        read_entries(tmp_path / "x.yaml", "x.yaml")
    with pytest.raises(ConfigError, match="here: cannot be read: Is a directory"):
        read_entries(tmp_path, "here")


@pytest.mark.parametrize("text", ["[1440, 808", "{a: 1", "a: b: c", "!!int x", "2024-99-99", "!foo 3", "\x00"])
def test_a_value_that_is_not_yaml_is_a_value_error_of_one_line(text: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        parse_value(text)


def test_values_are_written_as_yaml_reads_them() -> None:
    for value in (None, True, 8, 0.001, 1e-05, "auto", "0,1", [1440, 808], "дым"):
        assert parse_value(written(value)) == value
    assert written([1440, 808]) == "[1440, 808]"
    assert written(None) == "null"
