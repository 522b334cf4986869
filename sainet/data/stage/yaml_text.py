"""The data YAML and the lists of a staged set."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sainet.data.source import DataSource, images_in
from sainet.data.stage.layout import Layout
from sainet.data.stage.survey import Survey

__all__ = ["YAML", "list_lines", "named_places", "yaml_text"]

YAML = "data.yaml"
_OURS = frozenset({"path", "train", "val", "test", "names"})
_LEFT_OUT = frozenset({"download", "minival", "yaml_file"})
"""What would fetch the originals, or names them."""


def named_places(survey: Survey) -> dict[str, list[tuple[Path, str]]]:
    """For each split its folders and lists: as they are in the source, and their names in the staged set."""
    layout, named = survey.layout, dict[Path, str]()
    lists = 0
    for places in survey.places.values():
        for place in places:
            if place in named:
                continue
            if place.is_dir():
                named[place] = layout.folder(str(place))
            else:
                lists += 1
                named[place] = f"list-{lists}.txt"
    return {split: [(place, named[place]) for place in places] for split, places in survey.places.items()}


def list_lines(place: Path, layout: Layout) -> Iterator[str]:
    """The lines of a list file for the staged set, relative to it."""
    for path in images_in(place):
        yield f"./{layout.image(os.path.abspath(path))}\n"  # noqa: PTH100


def yaml_text(source: DataSource, named: dict[str, list[tuple[Path, str]]]) -> str:
    """With the same names in the same order; of the other keys all that say nothing about where the images are."""
    import yaml

    read = yaml.safe_load(source.yaml.read_text(encoding="utf-8-sig"))
    tree: dict[str, Any] = {}
    for split, places in named.items():
        names = [name for _, name in places]
        tree[split] = names[0] if len(names) == 1 else names
    tree["names"] = dict(source.names)
    tree |= {key: value for key, value in read.items() if key not in _OURS | _LEFT_OUT}
    head = f"# Staged by sainet from {source.yaml}; `sainet data unstage` removes it.\n"
    return head + yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)
