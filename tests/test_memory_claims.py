"""What the users' documents say about memory, and docs/memory.md, which says what became of it."""

import importlib
import json
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from config_cases import problems_of, profile_file, settle
from conftest import PROJECT

from sainet.config.document import parse_entries
from sainet.config.library import profile_names
from sainet.config.runfile import resolved_yaml
from sainet.config.schema import Claim

PAGE = PROJECT / "docs" / "memory.md"


@pytest.fixture
def claims(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script that writes the page."""
    monkeypatch.syspath_prepend(PROJECT / "benchmarks" / "memory")
    return importlib.import_module("claims")


@pytest.fixture
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


# --- the page ---------------------------------------------------------------------------------------------------------


def test_the_page_is_what_the_script_makes_of_the_code_and_the_profiles(claims: ModuleType, own_cache: Path) -> None:
    written = PAGE.read_text(encoding="utf-8")
    if claims.versions() not in written:
        pytest.skip(f"the page was traced with other versions than {claims.versions()}")
    assert claims.page(own_cache / "traces") == written, f"renew it: {claims.COMMAND}"


def test_the_page_has_every_document_and_every_claim() -> None:
    written = PAGE.read_text(encoding="utf-8")
    sources = {config.source for _, config in references()}
    assert len(sources - {None}) == 5
    missing = [
        claim.says for _, config in references() for claim in config.claims if f"| {claim.says} |" not in written
    ]
    assert missing == []


def test_the_page_has_a_verdict_for_every_claim_that_can_be_counted() -> None:
    written = PAGE.read_text(encoding="utf-8")
    counted = [claim for config in unique_references() for claim in config.claims if claim.about != "other"]
    assert len(re.findall(r"\| \*\*(?:reproduced|corrected|refuted)\*\* \|", written)) == len(counted)


def references() -> Iterator[tuple[str, Any]]:
    """(profile and tier, the reference) of all that is shipped."""
    from sainet.config.library import Profile

    for name in profile_names():
        for tier in (None, *Profile(name).tiers):
            yield f"{name} {tier}", settle(profile=name, tier=tier).config.reference


def unique_references() -> list[Any]:
    """One for each document: a tier that says nothing of its own has its profile's claims."""
    return list({reference.source: reference for _, reference in references()}.values())


# --- the verdicts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claimed", "counted", "expected"),
    [
        (10.0, 10.0, "reproduced"),
        (0.0, 0.0, "reproduced"),
        (110.0, 100.0, "reproduced"),
        (100.0, 110.0, "reproduced"),
        (110.1, 100.0, "corrected"),
        (100.0, 110.1, "corrected"),
        (200.0, 100.0, "corrected"),
        (100.0, 200.0, "corrected"),
        (200.1, 100.0, "refuted"),
        (100.0, 200.1, "refuted"),
        (0.0, 1.0, "refuted"),
        (1.0, 0.0, "refuted"),
        (5.0, -5.0, "refuted"),
        (-5.0, -5.2, "reproduced"),
    ],
)
def test_a_number_is_judged_by_how_many_times_one_is_the_other(
    claims: ModuleType, claimed: float, counted: float, expected: str
) -> None:
    assert claims.verdict(claimed, counted) == expected


@pytest.mark.parametrize(
    ("about", "said", "sets", "than", "counted", "expected"),
    [
        ("card", {"gib": 140}, "", None, "140 GiB", "reproduced"),
        ("card", {"gib": 12}, "hardware.vram_gib=24", "hardware.vram_gib=16", "+8 GiB", "corrected"),
        ("card", {"gib": 8}, "hardware.vram_gib=16", "hardware.vram_gib=24", "-8 GiB", "refuted"),
        ("card", {"times": 3.5}, "", "hardware.vram_gib=40", "3.5 times (140 GiB / 40 GiB)", "reproduced"),
        ("card", {"change": "less"}, "hardware.vram_gib=40", "", "less: 40 GiB, not 140 GiB", "reproduced"),
        ("card", {"change": "same"}, "hardware.vram_gib=40", "", "less: 40 GiB, not 140 GiB", "refuted"),
        ("card", {"change": "same"}, "train.batch=8", "", "the same, 140 GiB", "reproduced"),
        ("batch", {"gib": 0.144}, "train.batch=256 train.imgsz=224", None, "36.8 MiB", "refuted"),
        ("gpu_batch", {"gib": 0.144}, "train.batch=256 train.imgsz=224", None, "147 MiB", "reproduced"),
        ("shm", {"fits": True}, "hardware.shm_gib=0.001", None, None, "refuted"),
        ("shm", {"fits": False}, "hardware.shm_gib=0.001", None, None, "reproduced"),
    ],
)
def test_every_kind_of_claim_is_counted_and_judged(
    claims: ModuleType,
    tmp_path: Path,
    about: str,
    said: dict[str, Any],
    sets: str,
    than: str | None,
    counted: str | None,
    expected: str,
) -> None:
    counting = importlib.import_module("claims_counted")
    document = counting.Document("h200", None, counting.Tracer(tmp_path))
    compared = None if than is None else than.split()
    found = claims.examined(document, Claim(says="so", about=about, settings=sets.split(), than=compared, **said))
    assert found.verdict == expected
    assert counted in {None, found.counted}


# --- the key `reference.claims` ---------------------------------------------------------------------------------------

TWO_CLAIMS = """\
hardware: {gpu: H200, gpus: 1}
train: {device: 0}
reference:
  claims:
    - {says: "a: b, [c]", about: ram, gib: 3, settings: [loader.workers=2]}
    - {says: second, about: vram, fits: true}
tiers:
  other:
    reference:
      claims:
        - {says: third, about: other, note: nobody knows}
"""


@pytest.mark.usefixtures("in_a_folder")
def test_claims_come_through_the_layers_whole_and_a_tier_has_its_own() -> None:
    profile = profile_file(TWO_CLAIMS)
    assert [claim.says for claim in settle(profile=profile).config.reference.claims] == ["a: b, [c]", "second"]
    resolved = settle(profile=profile, tier="other")
    assert resolved.config.reference.claims == [Claim(says="third", about="other", note="nobody knows")]
    assert str(resolved.origin("reference.claims")) == "tier other (mine.yaml:10)"


@pytest.mark.usefixtures("in_a_folder")
def test_claims_are_in_run_yaml_as_they_were_written() -> None:
    resolved = settle(profile=profile_file(TWO_CLAIMS))
    again = {entry.key: entry.value for entry in parse_entries(resolved_yaml(resolved), "run.yaml")}
    assert again["stage1.reference.claims"] == resolved.value("reference.claims")
    assert len(again["stage1.reference.claims"]) == 2


@pytest.mark.usefixtures("in_a_folder")
def test_profiles_show_prints_the_claims_of_a_profile_and_of_its_tiers() -> None:
    words = [sys.executable, "-m", "sainet", "profiles", "show", profile_file(TWO_CLAIMS), "--json"]
    shown = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    assert [claim["says"] for claim in shown["settings"]["reference"]["claims"]] == ["a: b, [c]", "second"]
    assert [claim["says"] for claim in shown["tier_settings"]["other"]["reference"]["claims"]] == ["third"]


@pytest.mark.usefixtures("in_a_folder")
@pytest.mark.parametrize(
    "claim",
    [
        "{says: a, about: vrma, gib: 3}",
        "{says: a, abuot: vram, about: vram, gib: 3}",
        "{says: a, about: vram}",
        "{about: vram, gib: 3}",
        "{says: a, about: vram, gib: '3'}",
        "{says: a, about: vram, gib: 3, fits: true}",
        "{says: a, about: vram, times: 3}",
        "{says: a, about: vram, change: less}",
        "{says: a, about: card, fits: true}",
        "{says: a, about: vram, fits: true, than: []}",
        "{says: a, about: vram, images: 3}",
        "{says: a, about: largest_batch, gib: 3}",
        "{says: a, about: other}",
        "{says: a, about: other, gib: 3, note: b}",
    ],
)
def test_a_claim_with_a_fault_is_an_error_with_its_line(claim: str) -> None:
    good = "{says: a, about: vram, gib: 3}"
    text = f"reference:\n  claims:\n    - {good}\n    - {claim}\n"
    (problem,) = problems_of(profile=profile_file(text))
    assert re.match(r"mine\.yaml:[24]: `reference\.claims`", problem), problem


# --- published figures stay out of the code ---------------------------------------------------------------------------


def figures() -> set[str]:
    """The documents' figures of three digits and more, as they are written; rounder ones may well be something else."""
    found: set[float] = set()
    for reference in (reference for _, reference in references()):
        values = reference.model_dump(exclude={"claims", "batch", "imgsz", "map50_after_epochs"})
        numbers = [value for value in values.values() if isinstance(value, int | float)]
        numbers += [value for claim in reference.claims for value in (claim.gib, claim.times) if value is not None]
        found |= {float(number) for number in numbers}
    texts = {f"{number:.10g}" for number in found}
    return {text for text in texts if len(text.replace(".", "").strip("0")) >= 3}


def numbers_in(source: Path) -> Iterator[tuple[int, str]]:
    """(line, number) of a Python file, in its code as in its comments and texts."""
    with tokenize.open(source) as stream:
        for token in tokenize.generate_tokens(stream.readline):
            for text in re.findall(r"(?<![\w.])\d[\d_,]*(?:\.\d+)?(?![\w.]*\d)", token.string):
                yield token.start[0], text.replace("_", "").replace(",", "")


def test_no_published_figure_stands_in_the_code() -> None:
    published = figures()
    assert {"128950", "37413", "419.2", "56.6", "138", "105", "32.2"} <= published
    package = PROJECT / "sainet"
    found = [
        f"{source.relative_to(package)}:{line}: {number}"
        for source in sorted(package.rglob("*.py"))
        for line, number in numbers_in(source)
        if number in published
    ]
    assert found == []


def test_a_published_figure_would_be_found_however_it_is_written(tmp_path: Path) -> None:
    source = tmp_path / "module.py"
    source.write_text(
        'A = 128_950\nB = 56.6  # of 128,950\n"""138 GiB."""\nC = 1384, "x105", 0x105\n', encoding="utf-8"
    )
    found = [number for _, number in numbers_in(source)]
    assert found[:4] == ["128950", "56.6", "128950", "138"]
    assert "105" not in found
