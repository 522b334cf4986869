"""What a check came to: the findings and the counts, for people, for JSON and for whoever cleans up."""

from collections import Counter
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from sainet.data.check.kinds import KINDS, Finding, Severity
from sainet.data.check.part import Seen

__all__ = ["Checked"]


@dataclass(frozen=True)
class Checked:
    """A data set that was checked. `findings` are in the order of `KINDS`, then by file and line.

    `seen`: by split; empty where the YAML itself could not be used.
    """

    yaml: str
    names: dict[int, str]
    seen: dict[str, Seen] = field(repr=False)
    findings: list[Finding]
    labels_only: bool

    def count(self, severity: Severity) -> int:
        return sum(finding.severity == severity for finding in self.findings)

    def by_kind(self) -> dict[str, list[Finding]]:
        """The findings of each kind there are any of, errors first."""
        return {kind: list(group) for kind, group in groupby(self.findings, key=lambda finding: finding.kind)}

    def boxes(self, split: str) -> dict[str, int]:
        """How many boxes of each class a split has."""
        return {name: self.seen[split].boxes[label] for label, name in self.names.items()}

    def as_dict(self) -> dict[str, Any]:
        """What `--json` prints."""
        return {"findings": [finding.as_dict() for finding in self.findings], "summary": self._summary()}

    def _summary(self) -> dict[str, Any]:
        kinds = Counter(finding.kind for finding in self.findings)
        return {
            "yaml": self.yaml,
            "labels_only": self.labels_only,
            "errors": self.count("error"),
            "warnings": self.count("warning"),
            "kinds": {kind: {"severity": KINDS[kind].severity, "count": count} for kind, count in kinds.items()},
            "splits": {split: self._split(split, seen) for split, seen in self.seen.items()},
        }

    def _split(self, split: str, seen: Seen) -> dict[str, Any]:
        return {
            "images": seen.images,
            "label_files": seen.labelled,
            "empty_label_files": seen.empty,
            "without_label_file": seen.missing,
            "boxes": self.boxes(split),
        }
