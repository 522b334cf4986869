"""What the supervisor asks of a running training, looked at before every batch."""

from pathlib import Path

from pydantic import ValidationError

from sainet.protocol import Orders


class OrderBook:
    """Reads `orders.json` when it was replaced, and hands over each order once, when it is due."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, int] | None = None
        self._waiting: Orders | None = None
        self._obeyed = 0

    def due(self, epoch: int, batch: int) -> Orders | None:
        """The order to obey before batch `batch` of `epoch`, if there is one."""
        self._look()
        order = self._waiting
        if order is None or (order.at is not None and (epoch, batch) < order.at):
            return None
        self._waiting, self._obeyed = None, order.number
        return order

    def _look(self) -> None:
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return
        seen = status.st_ino, status.st_mtime_ns
        if seen == self._seen:
            return
        self._seen = seen
        try:
            order = Orders.model_validate_json(self.path.read_text(encoding="utf-8"))
        except (ValidationError, OSError):  # not ours, or being replaced: the next look sees the next version
            return
        if order.number > self._obeyed:
            self._waiting = order
