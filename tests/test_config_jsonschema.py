"""The JSON schemas: the files are current, the shipped YAML is valid, and they refuse what the loader refuses."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from sainet.config.jsonschema import KINDS, Kind, json_schema
from sainet.config.library import shipped_root

SHIPPED = sorted(shipped_root().glob("p*/*.yaml"))


def errors(kind: Kind, text: str) -> list[str]:
    return [error.message for error in Draft202012Validator(json_schema(kind)).iter_errors(yaml.safe_load(text))]


@pytest.mark.parametrize("kind", KINDS)
def test_the_schema_file_is_current(kind: Kind) -> None:
    path = shipped_root() / "schema" / f"{kind}.schema.json"
    command = f"sainet config schema --kind {kind} > configs/schema/{kind}.schema.json"
    assert json.loads(path.read_text()) == json_schema(kind), f"renew it: {command}"


@pytest.mark.parametrize("kind", KINDS)
def test_the_schema_is_a_schema_and_says_what_it_is_for(kind: Kind) -> None:
    schema = json_schema(kind)
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["title"].startswith("sainet ")


def _open_objects(node: Any, path: str = "") -> list[str]:
    if isinstance(node, list):
        return [found for i, item in enumerate(node) for found in _open_objects(item, f"{path}[{i}]")]
    if not isinstance(node, dict):
        return []
    below = [found for key, item in node.items() for found in _open_objects(item, f"{path}.{key}")]
    is_open = node.get("type") == "object" and node.get("additionalProperties") is not False
    return below + ([path] if is_open else [])


def test_no_object_is_open_but_the_variables_and_the_tiers() -> None:
    found = {kind: _open_objects(json_schema(kind)) for kind in KINDS}
    env = ".properties.env"
    assert found == {
        "profile": [env, ".properties.tiers", f".$defs.Tier{env}"],
        "preset": [],
        "project": [env, f".$defs.Stage{env}"],
    }


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_file_is_valid_and_points_to_its_schema(path: Path) -> None:
    text = path.read_text()
    kind: Kind = "profile" if path.parent.name == "profiles" else "preset"
    assert errors(kind, text) == []
    (schema,) = re.findall(r"^# yaml-language-server: \$schema=(\S+)$", text, flags=re.MULTILINE)
    assert (path.parent / schema).resolve() == (shipped_root() / "schema" / f"{kind}.schema.json").resolve()
    assert (path.parent / schema).is_file()


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_wrong_key_in_a_shipped_file_is_found(path: Path) -> None:
    document = yaml.safe_load(path.read_text())
    kind: Kind = "profile" if path.parent.name == "profiles" else "preset"
    for section in [
        document,
        *(value for value in document.values() if isinstance(value, dict) and "env" not in document),
    ]:
        section["bacth"] = 3
        assert not Draft202012Validator(json_schema(kind)).is_valid(document)
        del section["bacth"]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("profile", "optim: {lr0: 0.1}"),
        ("profile", "stage1: {train: {batch: 3}}"),
        ("profile", "tiers: {fast: {optim: {lr0: 0.1}}}"),
        ("profile", "tiers: {fast: {train: {bacth: 3}}}"),
        ("profile", "train: {batch: 0}"),
        ("profile", "train: {batch: null}"),
        ("profile", "train: {imgsz: [1440]}"),
        ("profile", "train: {imgsz: 16}"),
        ("profile", "loader: {workers: '8'}"),
        ("profile", "loader: {cache: true}"),
        ("profile", "env: {A: [1]}"),
        ("preset", "loader: {workers: 8}"),
        ("preset", "schedule: {fraction: 0}"),
        ("preset", "data: ''"),
        ("project", "tiers: {fast: {}}"),
        ("project", "stage2: {schedule: {epochs: 0}}"),
        ("project", "stage3: {schedule: {epochs: 1}}"),
        ("project", "stage1: {stage2: {schedule: {epochs: 1}}}"),
    ],
)
def test_what_the_loader_refuses_the_schema_refuses(kind: Kind, text: str) -> None:
    assert errors(kind, text) != []


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("profile", "env: {OMP_NUM_THREADS: 8, B: '0,1', C: true}\ntiers: {fast: {env: {A: 1}, train: {imgsz: 896}}}"),
        ("profile", "loader: {workers: auto, prefetch_factor: null, val: {workers: 2}}"),
        (
            "project",
            "stage1: {data: a.yaml, train: {batch: 3}}\nstage2: {loss: {box: 3}}\ntrain: {device: '0,1'}",
        ),
        ("project", "train: {imgsz: [1440, 808], device: [0, 1], amp: bf16}\nschedule: {classes: [smoke]}"),
    ],
)
def test_what_the_loader_takes_the_schema_takes(kind: Kind, text: str) -> None:
    assert errors(kind, text) == []


def test_descriptions_and_defaults_are_kept() -> None:
    loader = json_schema("profile")["$defs"]["Loader"]["properties"]
    assert loader["workers"]["default"] == "auto"
    assert "Loader processes per GPU" in loader["workers"]["description"]
    assert loader["cache"]["enum"] == [False, "ram", "disk"]
