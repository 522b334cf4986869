"""Validation by the metric that the user selects by."""

from contextlib import nullcontext
from typing import Any, Literal

from ultralytics.models.yolo.detect import DetectionValidator

from sainet.engine.drawing import DRAWN, drawn_part
from sainet.engine.validation_pieces import Parts, losses_of_whole_batches

_METRICS = {
    "precision": "metrics/precision(B)",
    "recall": "metrics/recall(B)",
    "map50": "metrics/mAP50(B)",
    "map50-95": "metrics/mAP50-95(B)",
}


def short_metrics(stats: dict[str, Any]) -> dict[str, float]:
    """Ultralytics' figures under the names of the protocol."""
    return {short: float(stats[name]) for short, name in _METRICS.items() if name in stats}


class StageValidator(DetectionValidator):  # type: ignore[misc]  # ultralytics has no types
    """Reports `select_by` as the fitness, which best.pt and early stopping both go by.

    Batches are computed in `pieces`, as the training's are: a picture shows the images of one piece.
    """

    select_by: Literal["map50-95", "map50", "recall"] = "map50-95"
    pieces: int = 1
    dataloader: Any

    def __call__(self, trainer: Any = None, model: Any = None, **kwargs: Any) -> Any:
        if self.pieces == 1:
            return super().__call__(trainer, model, **kwargs)
        whole, parts = self.dataloader, Parts(self.dataloader, self.pieces)
        self.dataloader = parts
        try:  # the final evaluation, without a trainer, has no losses
            with nullcontext() if trainer is None else losses_of_whole_batches(trainer.ema.ema, parts):
                return super().__call__(trainer, model, **kwargs)
        finally:
            self.dataloader = whole

    def plot_val_samples(self, batch: dict[str, Any], ni: int) -> None:
        super().plot_val_samples(drawn_part(batch), ni)

    def plot_predictions(self, batch: dict[str, Any], preds: list[Any], ni: int, max_det: int | None = None) -> None:
        super().plot_predictions(drawn_part(batch), preds[:DRAWN], ni, max_det)

    def get_stats(self) -> dict[str, Any]:
        stats: dict[str, Any] = super().get_stats()
        # The validator is where upstream takes the fitness from: changing it later would leave best_fitness behind.
        if self.select_by != "map50-95":
            stats["fitness"] = stats[_METRICS[self.select_by]]
        return stats
