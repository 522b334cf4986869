#!/usr/bin/env python3
"""Every memory claim of the users' documents, counted anew by the code that plans a training.

    python benchmarks/memory/claims.py > docs/memory.md
    python benchmarks/memory/claims.py --check    # exit code 1 where docs/memory.md is not what would be written

The claims are in the profiles' `reference.claims`. The first time each kind of model is traced, which takes about ten
seconds; the traces are kept where sainet keeps its own.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from claims_counted import COUNTED, Case, Document, Tracer, documents

from sainet.config.schema import Claim
from sainet.files import cache_folder
from sainet.memory.budget import Resource
from sainet.memory.device import CONTEXT_BYTES, PLAN_FACTOR
from sainet.memory.limits import profile_limits

PAGE = Path(__file__).resolve().parents[2] / "docs" / "memory.md"
COMMAND = "python benchmarks/memory/claims.py > docs/memory.md"
GIB = 1024**3
MIB = 1024**2
WITHIN = 1.10
"""Reproduced: the greater of claimed and counted is at most so many times the other."""
FACTOR = 2.0
"""Corrected: at most so many times. Beyond it the claim is refuted."""

Judgement = Literal["reproduced", "corrected", "refuted"]


# --- judging ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Finding:
    """A claim, what was counted, in words, and the verdict."""

    claim: Claim
    counted: str
    verdict: Judgement


def verdict(claimed: float, counted: float) -> Judgement:
    """By how many times the greater is the other; with different signs, or with one of them zero, refuted."""
    if claimed == counted:
        return "reproduced"
    if claimed * counted <= 0:
        return "refuted"
    ratio = max(claimed / counted, counted / claimed)
    if ratio <= WITHIN:
        return "reproduced"
    return "corrected" if ratio <= FACTOR else "refuted"


def holds(true: bool) -> Judgement:
    """Of a claim without a number."""
    return "reproduced" if true else "refuted"


def examined(document: Document, claim: Claim) -> Finding:
    """The claim's quantity, counted and compared."""
    case = document.case(claim.settings)
    if claim.fits is not None:
        return _examined_fit(case, claim)
    count = COUNTED[claim.about]
    now = count(case)
    if claim.images is not None:
        return Finding(claim, f"{now} images", verdict(claim.images, now))
    if claim.than is None:
        assert claim.gib is not None
        return Finding(claim, gib(now), verdict(claim.gib, now / GIB))
    before = count(document.case(claim.than))
    if claim.gib is not None:
        sign = "-" if now < before else "+"
        return Finding(claim, sign + gib(abs(now - before)), verdict(claim.gib, (now - before) / GIB))
    if claim.times is not None:
        text = f"{now / before:.3g} times ({gib(now)} / {gib(before)})"
        return Finding(claim, text, verdict(claim.times, now / before))
    change = "same" if now == before else "less" if now < before else "more"
    text = f"the same, {gib(now)}" if change == "same" else f"{change}: {gib(now)}, not {gib(before)}"
    return Finding(claim, text, holds(claim.change == change))


def _examined_fit(case: Case, claim: Claim) -> Finding:
    resource: Resource = claim.about  # type: ignore[assignment]  # the schema leaves no other
    found = case.fits(resource)
    limit = profile_limits(case.config.hardware)[resource].bytes
    assert limit is not None
    text = f"{found}: {gib(case.budget(resource).need_bytes)} of {gib(limit)}"
    return Finding(claim, text, holds(claim.fits == (found != "does not fit")))


# --- the page ---------------------------------------------------------------------------------------------------------


def gib(size: float) -> str:
    """Bytes in three digits, or in whole GiB from a thousand on."""
    if 0 < size < GIB:
        return f"{size / MIB:.3g} MiB"
    return f"{size / GIB:.0f} GiB" if size >= 1000 * GIB else f"{size / GIB:.3g} GiB"


def page(store: Path) -> str:
    """The whole page. Raises `TraceError` where a model cannot be traced."""
    found = documents(Tracer(store))
    findings = {
        document.title: [examined(document, claim) for claim in document.claims if claim.about != "other"]
        for document in found
    }
    lines = [*_head(), *_counting(found[[document.profile for document in found].index("h200")])]
    lines += ["## What the documents say", "", *_rule(), *_totals(findings)]
    for document in found:
        lines += _table(document, findings[document.title])
    lines += ["## What cannot be counted", "", "| document | it says | why it is not counted |", "|---|---|---|"]
    for document in found:
        lines += [
            f"| {document.title} | {claim.says} | {claim.note} |" for claim in document.claims if claim.about == "other"
        ]
    return "\n".join(lines) + "\n"


def versions() -> str:
    return ", ".join(f"{package} {version(package)}" for package in ("ultralytics", "torch"))


def _head() -> list[str]:
    return [
        f"<!-- Written by `{COMMAND}`. Change that script, the code or the profiles' `reference:` instead. -->",
        "",
        "# Memory",
        "",
        "What a training needs is counted before it starts: `sainet profile-memory` prints it, and a start that does "
        "not fit is refused. This page shows how, and takes every claim about memory of the five documents that the "
        f"profiles come from. GiB are 1024^3 bytes. Traced with {versions()}.",
        "",
    ]


def _counting(document: Document) -> Iterator[str]:
    """A paragraph and the rows for each resource, of the profile as it is."""
    case = document.case()
    paragraphs: Mapping[Resource, str] = {
        "ram": "**RAM** is what all processes hold together at the worst moment, /dev/shm included: a batch in a "
        "loader is uint8, 3 x height x width bytes for each image, and a loader holds workers x prefetch of them and "
        f"one in use. Ultralytics' own loader (`--engine stock`) would take {gib(_stock(document))} here.",
        "shm": "**/dev/shm** holds the batches that workers hand over, and the images where they are staged.",
        "disk": "**Disk** is what a stage writes: weights, exact checkpoints, caches.",
        "vram": "**VRAM** of one GPU: the real model, loss, backward pass, optimizer step and average are run once on "
        "tensors without content; each allocation is replayed, for any number of images, through PyTorch's caching "
        f"allocator. To plan with, {PLAN_FACTOR - 1:.0%} and {gib(CONTEXT_BYTES)} for the CUDA context are added.",
    }
    yield from ["## How it is counted", ""]
    yield f"The rows are those of profile `{document.profile}`, stage 1, on {_images(case)}."
    for resource, paragraph in paragraphs.items():
        budget = case.budget(resource)
        yield from ["", paragraph, "", "| component | size | formula |", "|---|---|---|"]
        yield from (f"| {row.component} | {gib(row.bytes)} | {row.formula} |" for row in budget.rows)
        yield f"| **all** | **{gib(budget.need_bytes)}** | |"
    link = "[benchmarks/memory](../benchmarks/memory/README.md)"
    yield from ["", f"How close this comes to what was measured, with real loaders and real steps: {link}.", ""]


def _images(case: Case) -> str:
    return case.images.source if case.images else "an unknown number of images"


def _stock(document: Document) -> int:
    sets = ["train.engine=stock", "loader.prefetch_factor=4", "loader.pin_memory=true"]
    return document.case(sets).budget("ram").need_bytes


def _rule() -> list[str]:
    return [
        "What is counted is stage 1 of the document's profile, with the settings that stand beside the claim.",
        "",
        f"- *Reproduced*: the greater of what is claimed and what is counted is at most {WITHIN:g} times the other.",
        f"- *Corrected*: it is at most {FACTOR:g} times the other.",
        "- *Refuted*: it is more, or a claim without a number (it fits, it is less) does not hold.",
        "",
        '"Fits" means into what the profile\'s `hardware:` says, VRAM with the planning margin; "tight" fits too.',
        "",
    ]


def _totals(findings: Mapping[str, Sequence[Finding]]) -> Iterator[str]:
    judgements: Sequence[Judgement] = ("reproduced", "corrected", "refuted")
    yield from [f"| document | {' | '.join(judgements)} |", "|---|---|---|---|"]
    for title, found in findings.items():
        counts = [str(sum(finding.verdict == judgement for finding in found)) for judgement in judgements]
        yield f"| {title} | {' | '.join(counts)} |"
    yield ""


def _table(document: Document, findings: Sequence[Finding]) -> Iterator[str]:
    tier = f" --tier {document.tier}" if document.tier else ""
    yield from [f"### {document.title}", "", f"`--profile {document.profile}{tier}`", ""]
    yield from ["| the document says | with | counted | verdict | why |", "|---|---|---|---|---|"]
    for finding in findings:
        claim = finding.claim
        cells = [claim.says, _settings(claim), finding.counted, f"**{finding.verdict}**", claim.note or ""]
        yield f"| {' | '.join(cells)} |"
    yield ""


def _settings(claim: Claim) -> str:
    settings = ", ".join(f"`{text}`" for text in claim.settings)
    if claim.than is None:
        return settings
    than = ", ".join(f"`{text}`" for text in claim.than) or "the profile"
    return f"{settings or 'the profile'}; compared with {than}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with docs/memory.md instead")
    check = parser.parse_args().check
    written = page(cache_folder() / "traces")
    if not check:
        print(written, end="")
    elif not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != written:
        sys.exit(f"{PAGE} is not what the code says now: {COMMAND}")


if __name__ == "__main__":
    main()
