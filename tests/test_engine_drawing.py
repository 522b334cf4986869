"""Pictures of batches hold no more than the images that they show."""

from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.usefixtures("sealed_ultralytics")


def test_a_picture_keeps_its_images_and_nothing_else_of_the_batch() -> None:
    from sainet.engine.drawing import DRAWN, drawn_part

    batch = {"img": torch.rand(40, 3, 8, 8), "batch_idx": torch.arange(40.0), "im_file": [str(i) for i in range(40)]}
    part = drawn_part(batch)
    assert torch.equal(part["img"], batch["img"][:DRAWN])
    assert part["img"].untyped_storage().nbytes() == DRAWN * 3 * 8 * 8 * 4, "it does not hold the batch's memory"
    assert part["im_file"] is batch["im_file"]
    assert batch["img"].shape[0] == 40


def test_upstream_draws_no_more_than_that_and_the_same_picture(tmp_path: Path) -> None:
    from ultralytics.utils.plotting import plot_images

    from sainet.engine.drawing import drawn_part

    torch.manual_seed(0)
    boxes = 60
    batch = {
        "img": torch.rand(20, 3, 64, 96),
        "cls": torch.zeros(boxes, 1),
        "bboxes": torch.rand(boxes, 4) * 0.4 + 0.2,
        "batch_idx": torch.arange(boxes) % 20,
        "im_file": [f"{i}.jpg" for i in range(20)],
    }
    for name, drawn in (("whole", batch), ("part", drawn_part(batch))):
        plot_images(labels=drawn, paths=drawn["im_file"], fname=tmp_path / f"{name}.jpg", threaded=False)
    assert (tmp_path / "whole.jpg").read_bytes() == (tmp_path / "part.jpg").read_bytes()
