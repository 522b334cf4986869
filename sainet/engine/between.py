"""What happens between two batches: the exact state is written, orders are obeyed, the training is left."""

from typing import Any

from sainet.engine.exact import Place, capture
from sainet.engine.keeping import Keeper, Reason
from sainet.engine.lifeline import StoppedByOrder
from sainet.engine.obeying import obey
from sainet.engine.orders import OrderBook
from sainet.protocol import Orders, OrdersApplied


class Between:
    """The boundary of sainet's own engine."""

    def __init__(self, training: Any, keeper: Keeper, orders: OrderBook) -> None:
        self.training, self.keeper, self.orders = training, keeper, orders
        self._kept: tuple[Place, int] | None = None
        """Place and last step of the newest state: an epoch that is trained again has another last step."""

    def begin(self) -> None:
        """Write the state before the first batch: from here on a kill at any moment leaves something exact.

        A disk that is too small for it is found out now, and not in hours.
        """
        self._keep("start", Place(0, 0), -1)

    def before_batch(self, place: Place, last_step: int, *, stepped: bool) -> None:
        """Obey an order that is due; write the state when the interval has passed and no gradient is waiting."""
        order = self.orders.due(place.epoch, place.batch)
        if order is not None:
            self._obey(order, place, last_step)
        elif stepped and self.keeper.due:
            self._keep("interval", place, last_step)

    def after_epoch(self, place: Place, last_step: int) -> None:
        """Write the state: the epoch is validated, and its weights are saved."""
        self._keep("epoch", place, last_step)

    def stopping(self, place: Place, last_step: int) -> None:
        """Write the state, waiting gradients included, unless that of this very place is on disk already."""
        if (place, last_step) != self._kept:
            self._keep("stop", place, last_step)

    def _obey(self, order: Orders, place: Place, last_step: int) -> None:
        """Do what it asks and say so, also where there was nothing to change: the supervisor waits for the place."""
        changes = obey(self.training, order)
        plan = self.training.plan
        self.training.reporter.emit(
            OrdersApplied(
                stage=plan.stage,
                attempt=plan.attempt,
                number=order.number,
                epoch=place.epoch,
                batch=place.batch,
                changes=changes,
            )
        )
        if order.stop:
            raise StoppedByOrder
        if order.checkpoint:
            self._keep("order", place, last_step)

    def _keep(self, reason: Reason, place: Place, last_step: int) -> None:
        batches = len(self.training.train_loader)
        self.keeper.save(reason, place, batches, lambda: capture(self.training, place, last_step))
        self._kept = place, last_step
