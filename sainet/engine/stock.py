"""`--engine stock`: Ultralytics' own loader and augmentation under our loop, for comparison."""

from collections.abc import Iterator
from typing import Any

from sainet.engine.exact import Place
from sainet.engine.lifeline import StoppedByOrder
from sainet.engine.orders import OrderBook


class StockSource:
    """The batches of Ultralytics' loader, whole epochs only: what it delivers depends on all that it delivered."""

    def __init__(self, training: Any) -> None:
        self.training = training
        self._mosaic_is_closed = not training.args.close_mosaic

    def __len__(self) -> int:
        return len(self.training.train_loader)

    def batches(self, place: Place) -> Iterator[dict[str, Any]]:
        """One epoch; without mosaic for the last `close_mosaic` of them."""
        training = self.training
        if not self._mosaic_is_closed and place.epoch >= training.epochs - training.args.close_mosaic:
            self._mosaic_is_closed = True
            training._close_dataloader_mosaic()
            training.train_loader.reset()
        yield from training.train_loader


class StockBetween:
    """Only whole epochs can be gone on from: last.pt, written at each one's end, is all that is kept."""

    def __init__(self, orders: OrderBook) -> None:
        self.orders = orders

    def before_batch(self, place: Place, last_step: int, *, stepped: bool) -> None:  # noqa: ARG002
        """The only order that it can obey is to stop, which leaves whatever else it asks undone."""
        order = self.orders.due(place.epoch, place.batch)
        if order is None:
            return
        if order.stop:
            raise StoppedByOrder
        asked = ", ".join(order.model_dump(exclude_defaults=True, exclude={"version", "number", "at"})) or "nothing"
        self.orders.warn(
            f"order {order.number} is not obeyed: the stock engine can only be ordered to stop, and it asks for {asked}"
        )

    def after_epoch(self, place: Place, last_step: int) -> None:
        """last.pt was written before."""

    def stopping(self, place: Place, last_step: int) -> None:
        """What was trained of this epoch is lost."""
