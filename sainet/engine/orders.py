"""What the supervisor asks of a running training, looked at before every batch."""

from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from sainet.protocol import Orders


class OrderBook:
    """Reads `orders.json` when it was replaced, and hands over each order once, when it is due.

    `warn` is told of a file that is no order, and of an order whose number is used up: neither is obeyed.
    """

    def __init__(self, path: Path, warn: Callable[[str], None]) -> None:
        self.path, self.warn = path, warn
        self._seen: tuple[int, int, int] | None = None
        self._waiting: Orders | None = None
        self._last = Orders()
        """The order that was obeyed last."""

    def due(self, epoch: int, batch: int) -> Orders | None:
        """The order to obey before batch `batch` of `epoch`, if there is one."""
        self._look()
        order = self._waiting
        if order is None or (order.at is not None and (epoch, batch) < order.at):
            return None
        self._waiting, self._last = None, order
        return order

    def _look(self) -> None:
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return
        seen = status.st_ino, status.st_mtime_ns, status.st_size
        if seen == self._seen:
            return
        self._seen = seen
        try:
            text = self.path.read_bytes()
            order = Orders.model_validate_json(text) if text.strip() else Orders()  # empty: just being written
        except FileNotFoundError:  # just being replaced: the next look sees the next version
            return
        except OSError as error:
            self.warn(f"{self.path} cannot be read: {error.strerror}")
        except ValidationError as error:
            self.warn(f"{self.path} is passed over, it is no order: {_first_problem(error)}")
        else:
            self._weigh(order)

    def _weigh(self, order: Orders) -> None:
        if order.number > self._last.number:
            self._waiting = order
        elif order not in (self._last, Orders()):
            self.warn(f"{self.path} is passed over: a new order needs a `number` above {self._last.number}")


def _first_problem(error: ValidationError) -> str:
    problem = error.errors()[0]
    where = ".".join(map(str, problem["loc"]))
    return f"{where}: {problem['msg']}" if where else problem["msg"]
