"""Will this stage fit? Its forecast against a machine, and what stands against a start."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from sainet.config.schema import Config
from sainet.data.census import Census
from sainet.errors import Problem
from sainet.files import cache_folder
from sainet.memory import calibration
from sainet.memory.budget import Resource
from sainet.memory.caching_allocator import AllocatorSettings
from sainet.memory.forecast import Forecast, Forecaster
from sainet.memory.limits import Limits
from sainet.memory.nearest import changes, nearest
from sainet.memory.trace import TraceError, TraceRequest, predictor
from sainet.memory.workload import Images, Workload
from sainet.report.memory import TITLES, gib

__all__ = ["Fit", "allocator_of", "forecaster", "images_of", "published_images"]

Tell = Callable[[str], None]

_GIB = 1024**3
_ASSUMED_SIZE = 1080, 1920
"""Height and width of images that nobody has named: what the cameras of both sets deliver most."""
_SHOWN_ROWS = 3


def images_of(census: Census, config: Config) -> Images:
    """What the data say of their images; only a share of them may be trained."""
    train = math.ceil(census.train * config.schedule.fraction)
    source = f"{train} train and {census.val} val images, sizes from {len(census.sizes)} of them"
    return Images(train, census.val, census.sizes or (_ASSUMED_SIZE,), source, census.file_bytes)


def published_images(config: Config) -> Images | None:
    """What the profile's document says of them, where no data are named; None where it says nothing."""
    published = config.reference
    if published.images is None:
        return None
    height, width = _ASSUMED_SIZE
    file_bytes = round(published.data_gib * _GIB) if published.data_gib else None
    source = f"{published.images} images by the profile's reference, taken as {width}x{height}"
    return Images(published.images, 0, (_ASSUMED_SIZE,), source, file_bytes)


def forecaster(request: TraceRequest, environ: Mapping[str, str], gpu: str | None, tell: Tell) -> Forecaster:
    """Traces the model, unless that was done before; what cannot be traced is told, and leaves VRAM unknown.

    `environ`: the training process's variables; `gpu`: the name of this machine's GPU when it is the one planned for.
    """
    folder = cache_folder()
    allocator = allocator_of(environ)
    factor = calibration.read(folder).factor(calibration.key(request.device, gpu))
    try:
        model = predictor(request, folder / "traces", tell=tell)
    except TraceError as error:
        return Forecaster(None, allocator, factor, untraced=error.message)
    return Forecaster(model, allocator, factor, gradients=request.gradients)


def allocator_of(environ: Mapping[str, str]) -> AllocatorSettings:
    """What PyTorch will not understand it will tell by itself.

    `max_split_size_mb` is left out: the large blocks that it keeps from being reused PyTorch gives back before a card
    runs out, so they say nothing of what fits.
    """
    try:
        return replace(AllocatorSettings.from_environment(environ), max_split_size_bytes=None)
    except ValueError:
        return AllocatorSettings()


@dataclass(frozen=True)
class Fit:
    """A stage's workload, what it needs, and what this machine has."""

    workload: Workload
    forecaster: Forecaster
    limits: Limits
    request: TraceRequest
    """What `forecaster` traced."""
    has_begun: bool = False
    """The stage is trained in part already: with another batch it would be another training."""

    @property
    def forecast(self) -> Forecast:
        return self.forecaster(self.workload)

    @property
    def ram_cache_bytes(self) -> int | None:
        """What a RAM cache may take in each process: all that the rest of the training leaves free."""
        free = self.limits["ram"].free_bytes
        if free is None:
            return None
        rest = self.forecaster(replace(self.workload, cache=False)).budget("ram").need_bytes
        return max(0, free - rest) // self.workload.ranks

    def refusals(self, tiers: Callable[[], Mapping[str, Workload]]) -> Iterator[Problem]:
        """One problem per resource that does not hold the stage, with the nearest settings that would.

        `tiers` is asked only then.
        """
        forecast = self.forecast
        too_large = forecast.too_large(self.limits)
        hint = self._hint(tiers(), too_large) if too_large else None
        for name in too_large:
            yield Problem(self._sentence(name, forecast), where=f"memory.{name}", hint=hint)

    def nearest(self) -> list[str] | None:
        """The flags of the nearest settings that fit; None where none do."""
        found = nearest(self.workload, self.forecaster, self.limits)
        return None if found is None or not self._may_become(found) else changes(self.workload, found)

    def _sentence(self, name: Resource, forecast: Forecast) -> str:
        budget, limit = forecast.budget(name), self.limits[name]
        free, size = limit.free_bytes or 0, limit.bytes or 0
        largest = sorted(budget.rows, key=lambda row: -row.bytes)[:_SHOWN_ROWS]
        parts = ", ".join(f"{row.component} {gib(row.bytes)} = {row.formula}" for row in largest if row.bytes)
        return (
            f"{TITLES[name]} does not hold it: {gib(budget.need_bytes)} needed, {gib(free)} free of {gib(size)} "
            f"({limit.source}): {parts}"
        )

    def _hint(self, tiers: Mapping[str, Workload], too_large: Sequence[Resource]) -> str:
        ways = [" ".join(flags)] if (flags := self.nearest()) else []
        by_batch = nearest(self.workload, self.forecaster, self.limits, batch_only=True)
        if by_batch is not None and self._may_become(by_batch):
            ways.append(" ".join(changes(self.workload, by_batch)))
        ways += [f"--tier {name}" for name, workload in tiers.items() if self._holds(workload)]
        unique = list(dict.fromkeys(ways))
        found = f"what fits: {'; or '.join(unique)}" if unique else "nothing smaller fits either"
        more = [_MORE[name] for name in too_large if name in _MORE]
        more += [_STAGED] if self.workload.staged and {"ram", "shm"} & set(too_large) else []
        seen = [] if unique else ["sainet profile-memory shows every row"]
        return "; ".join([found, *more, *seen, "--force starts all the same"])

    def _holds(self, workload: Workload) -> bool:
        return self._may_become(workload) and not self.forecaster(workload).too_large(self.limits)

    def _may_become(self, workload: Workload) -> bool:
        return not self.has_begun or workload.batch == self.workload.batch


_MORE: Mapping[Resource, str] = {
    "shm": "or give the container a larger /dev/shm (docker run --shm-size=16g)",
    "disk": "or put the run on a larger disk (--runs-dir)",
}
"""What nobody can find by searching the settings."""
_STAGED = (
    "or --set staging.to=null, which reads the images where they lie; or --set staging.format=jpeg-1440, and "
    "sainet data stage DATA.yaml --format jpeg-1440 says how much that is"
)
