"""From a configuration to what its memory is counted from."""

from pathlib import Path

import pytest
from config_cases import on_gpu, settle

from sainet.config.resolve import Resolved
from sainet.hardware.gpu_models import card_memory_bytes
from sainet.memory.trace import TraceRequest
from sainet.memory.workload import Images
from sainet.run.workload import class_count, model_of, trace_request, workload

MANY = Images(100_000, 1_000, ((1080, 1920),), "counted")


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def request(resolved: Resolved, images: Images | None = None) -> TraceRequest:
    return trace_request(resolved.config, model="yolov8s.yaml", classes=2, images=images)


def test_a_trace_is_of_what_the_profile_trains() -> None:
    found = request(on_gpu("train.imgsz=[1440, 808]", "train.batch=128"))
    assert found.shape == (832, 1440)
    assert (found.device, found.precision, found.channels_last, found.accumulates) == ("cuda", "fp16", True, False)
    assert request(on_gpu("train.amp=bf16", "train.channels_last=false")).precision == "bf16"
    assert request(on_gpu("train.batch=16")).accumulates
    assert request(on_gpu("train.micro_batch=5")).pieces == 2


def test_a_cpu_trains_in_full_precision() -> None:
    found = request(settle(sets=["train.amp=false"]))
    assert (found.device, found.precision, found.channels_last) == ("cpu", "fp32", False)


def test_the_stock_engine_is_counted_as_the_squares_that_it_trains() -> None:
    stock = on_gpu("train.imgsz=[1440, 808]", "train.engine=stock")
    assert request(stock).shape == (1440, 1440)
    assert workload(stock.config, workers=8, val_workers=16, images=None).shape == (1440, 1440)


def test_multi_scale_is_counted_at_its_largest() -> None:
    assert request(on_gpu("augment.multi_scale=0.5")).shape == (960, 960)


def test_optimizer_auto_is_counted_as_ultralytics_chooses() -> None:
    auto = on_gpu("optim.optimizer=auto", "schedule.epochs=100", "train.batch=64")
    assert request(auto).optimizer == "AdamW", "the one that keeps more, while nobody knows how many images there are"
    assert request(auto, MANY).optimizer == "MuSGD"


def test_weights_name_the_architecture_with_or_without_their_file() -> None:
    assert model_of("yolov8s.pt", None) == "yolov8s.yaml"
    assert model_of("stage-1", "yolov8m.pt") == "yolov8m.yaml"
    mine = Path("mine.pt")
    mine.write_bytes(b"")
    assert model_of("mine.pt", None) == str(mine.absolute())


def test_classes_are_those_asked_for_else_the_datas() -> None:
    assert class_count(settle(stage=1).config, {0: "a", 1: "b", 2: "c"}) == 2
    assert class_count(settle(stage=1, sets=["schedule.classes=null"]).config, {0: "a", 1: "b", 2: "c"}) == 3


def test_shares_of_several_gpus() -> None:
    two = workload(
        on_gpu("train.device=0,1", "train.batch=60", "train.micro_batch=4", gpus=2).config,
        workers=8,
        val_workers=4,
        images=None,
    )
    assert (two.ranks, two.rank_batch, two.piece_images, two.val_batch) == (2, 30, 8, 60)


@pytest.mark.parametrize(
    ("name", "mib"), [("A10G", 23028), ("nvidia a10", 23028), ("H200", 143771), ("A100 80GB", 81920)]
)
def test_a_card_is_known_by_its_name(name: str, mib: int) -> None:
    assert card_memory_bytes(name) == mib * 1024**2


@pytest.mark.parametrize("name", ["A100", "Voodoo 2", ""])
def test_a_name_that_fits_none_or_several_cards_is_no_card(name: str) -> None:
    assert card_memory_bytes(name) is None
