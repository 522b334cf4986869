"""Files of /proc and of control groups that are read over and over: the kernel writes them anew for each reading."""

import os
from pathlib import Path

__all__ = ["KeptFile"]

_AT_MOST_BYTES = 1 << 16


class KeptFile:
    """A small file behind a descriptor that is kept, which makes reading it several times cheaper than opening it.

    `gone` turns true when the file was there and cannot be read any more, as when its control group was removed.
    """

    def __init__(self, path: Path) -> None:
        self.gone = False
        try:
            self._descriptor: int | None = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._descriptor = None

    def read(self) -> str | None:
        """The text of this moment; None where there is no such file, or it is gone."""
        if self._descriptor is None:
            return None
        try:
            return os.pread(self._descriptor, _AT_MOST_BYTES, 0).decode()
        except OSError:
            self.gone = True
            return None

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
