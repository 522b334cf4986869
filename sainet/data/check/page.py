"""The findings as one HTML file: no other file, no script, nothing from the network."""

from base64 import b64encode
from collections.abc import Iterator
from html import escape
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING
from warnings import catch_warnings

from sainet.data.check.kinds import KINDS, Finding
from sainet.data.check.paths import label_path
from sainet.data.check.rows import Row, read_labels
from sainet.data.check.summary import Checked

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["page_of"]

_LISTED = 200
"""Findings of a kind that the page lists; all are in the JSON."""
_PICTURED = 8
"""Findings of a kind that are shown as pictures."""
_SIDE = 200
"""Pixels of the longer side of a picture."""
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #222 }
h2 { margin-top: 2.5rem; border-bottom: 1px solid #ccc } table { border-collapse: collapse }
td, th { text-align: left; padding: .15rem 1rem .15rem 0; vertical-align: top; overflow-wrap: anywhere }
.error { color: #b00020 } .warning { color: #8a6100 } .fix { color: #555 }
figure { display: inline-block; width: 200px; margin: 0 1rem 1rem 0; vertical-align: top }
figcaption { font-size: 12px; overflow-wrap: anywhere } img { max-width: 200px; border: 1px solid #ccc }
"""


def page_of(checked: Checked) -> str:
    """The whole page. What cannot be written as UTF-8, as a name in an old encoding, is replaced."""
    title = f"Check of {escape(checked.yaml)}"
    parts = [
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>',
        f"<h1>{title}</h1><p>{checked.count('error')} errors, {checked.count('warning')} warnings</p>",
        _table(("split", "images", "label files", "of these empty", "without label file", "boxes"), _splits(checked)),
        _table(("kind", "", "found", "what"), _kinds(checked)),
        *(_section(kind, found, len(checked.names)) for kind, found in checked.by_kind().items()),
    ]
    return "\n".join(parts).encode("utf-8", "replace").decode("utf-8") + "\n"


def _splits(checked: Checked) -> Iterator[tuple[object, ...]]:
    for split, seen in checked.seen.items():
        boxes = ", ".join(f"{count} {name}" for name, count in checked.boxes(split).items())
        yield split, seen.images, seen.labelled, seen.empty, seen.missing, boxes


def _kinds(checked: Checked) -> Iterator[tuple[object, ...]]:
    for kind, found in checked.by_kind().items():
        yield kind, KINDS[kind].severity, len(found), KINDS[kind].title


def _table(head: tuple[str, ...], rows: Iterator[tuple[object, ...]]) -> str:
    lines = ["".join(f"<td>{escape(str(cell))}</td>" for cell in row) for row in rows]
    heads = "".join(f"<th>{name}</th>" for name in head)
    return f"<table><tr>{heads}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def _section(kind: str, found: list[Finding], classes: int) -> str:
    """One kind: what it is, what `clean` does, pictures of the first, and the list."""
    severity, title, fix = KINDS[kind].severity, KINDS[kind].title, KINDS[kind].fix
    shown = [(finding.where, finding.message) for finding in found[:_LISTED]]
    more = f"<p>and {len(found) - _LISTED} more</p>" if len(found) > _LISTED else ""
    return (
        f'<h2 id="{kind}"><span class="{severity}">{severity}</span> {kind}: {escape(title)} ({len(found)})</h2>'
        f'<p class="fix">clean: {escape(fix)}</p>'
        f"{''.join(_figure(finding, classes) for finding in found[:_PICTURED])}"
        f"{_table(('where', 'what'), iter(shown))}{more}"
    )


def _figure(finding: Finding, classes: int) -> str:
    picture = _picture(finding, classes) if finding.image else None
    if picture is None:
        return ""
    name = escape(Path(finding.where).name)
    return f'<figure><img src="data:image/jpeg;base64,{picture}" alt="{name}"><figcaption>{name}</figcaption></figure>'


def _picture(finding: Finding, classes: int) -> str | None:
    """The image with its boxes, that of the finding in red, small, as base64 of a JPEG.

    None for one that does not decode, or is too large to be worth it.
    """
    from PIL import Image, ImageOps

    assert finding.image is not None
    try:
        with catch_warnings(action="ignore"), Image.open(finding.image) as image:
            if image.width * image.height > (Image.MAX_IMAGE_PIXELS or 0):
                return None
            image.draft("RGB", (2 * _SIDE, 2 * _SIDE))
            image.thumbnail((_SIDE, _SIDE))
            small = ImageOps.exif_transpose(image).convert("RGB")
        _draw_boxes(small, _rows(finding.image, classes), finding.line)
    except Exception:  # Pillow's decoders raise all kinds
        return None
    stream = BytesIO()
    small.save(stream, "JPEG", quality=80)
    return b64encode(stream.getvalue()).decode()


def _rows(image: str, classes: int) -> list[Row]:
    try:
        return read_labels(Path(label_path(image)).read_bytes(), classes).rows
    except OSError:
        return []


def _draw_boxes(small: "Image", rows: list[Row], line: int | None) -> None:
    from PIL import ImageDraw

    draw = ImageDraw.Draw(small)
    for row in sorted(rows, key=lambda row: row.line == line):
        left, right = sorted(small.width * (row.x + side * row.width / 2) for side in (-1, 1))
        top, bottom = sorted(small.height * (row.y + side * row.height / 2) for side in (-1, 1))
        # Boxes far outside are cut, or drawing them would take long.
        corners = (max(left, -2), max(top, -2), min(right, small.width + 2), min(bottom, small.height + 2))
        if corners[0] <= corners[2] and corners[1] <= corners[3]:
            draw.rectangle(corners, outline="red" if row.line == line else "white")
