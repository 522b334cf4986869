"""torch.save that tries once, and says what stopped it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.serialization import save  # Ultralytics' own torch.save would append a second try to the first

__all__ = ["save_once", "saving_once"]


def save_once(*args: Any, **kwargs: Any) -> None:
    """torch.save, but what stops it (a full disk, a signal, a worker that died) is raised as what it is.

    torch closes its archive on the way out, finds it incomplete, and covers the reason with an error about that.
    """
    try:
        save(*args, **kwargs)
    except RuntimeError as error:
        if error.__context__ is None or "inline_container" not in str(error):
            raise
        raise error.__context__ from None


@contextmanager
def saving_once() -> Iterator[None]:
    """While the block lasts, Ultralytics saves once too.

    PyTorch raises the death of a loader's worker wherever the main thread is. In the middle of writing weights into a
    buffer, Ultralytics' own torch.save would take it for a slow disk and write them again, behind what is there
    already: a file that nobody can read, and nobody would be told.
    """
    theirs = torch.save
    torch.save = save_once
    try:
        yield
    finally:
        torch.save = theirs
