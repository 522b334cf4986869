"""How a level moves: how long it has stayed, how fast it grows, and which peaks it came back from. Pure."""

from collections import deque

__all__ = ["FORGET_AFTER_S", "SLACK_S", "Lasting", "Trend"]

FORGET_AFTER_S = 60.0
"""Whoever has not looked for so long knows nothing of what the level did meanwhile, seconds."""
_SURVIVED_AFTER_S = 20.0
"""A peak that was left so long ago is one that this training survives."""
_PAIR_S = 10.0
"""Two samples that lie further apart say nothing of how fast the level grows now."""
SLACK_S = 0.001
"""Samples that are meant to be half a second apart never quite are."""


class Lasting:
    """For how long something has been so, over all samples since it was not."""

    def __init__(self) -> None:
        self._since_s: float | None = None

    def see(self, time_s: float, holds: bool) -> float | None:
        """Seconds that it has held by now; None while it does not."""
        if not holds:
            self._since_s = None
            return None
        if self._since_s is None:
            self._since_s = time_s
        return time_s - self._since_s

    def for_(self, time_s: float, holds: bool, seconds: float) -> bool:
        """Whether it has held for so long by now."""
        lasted_s = self.see(time_s, holds)
        return lasted_s is not None and lasted_s >= seconds - SLACK_S

    def forget(self) -> None:
        self._since_s = None


class Trend:
    """The newest samples of a share (0..1) of a limit: as many as slopes over `longest_s` and survived peaks need."""

    def __init__(self, longest_s: float) -> None:
        self._longest_s = longest_s
        self._recent: deque[tuple[float, float]] = deque()
        self._unsettled: deque[tuple[float, float]] = deque()
        self.survived = 0.0
        """The highest share of all samples that are at least `_SURVIVED_AFTER_S` old."""

    def add(self, time_s: float, share: float) -> None:
        self._recent.append((time_s, share))
        while len(self._recent) > 2 and self._recent[0][0] < time_s - self._longest_s - SLACK_S:
            self._recent.popleft()
        self._unsettled.append((time_s, share))
        while self._unsettled[0][0] <= time_s - _SURVIVED_AFTER_S:
            self.survived = max(self.survived, self._unsettled.popleft()[1])

    def slope(self, window_s: float) -> float | None:
        """Growth over the last `window_s`, shares a second, by least squares; None where that cannot be said yet.

        The newest two samples are taken whatever the window, unless they are too far apart.
        """
        points = self._window(window_s)
        (first_s, _), (last_s, _) = points[0], points[-1]
        if len(points) < 2 or last_s - first_s < min(window_s / 2, _PAIR_S) - SLACK_S:
            return None
        return _least_squares(points)

    def _window(self, window_s: float) -> list[tuple[float, float]]:
        """Oldest first."""
        newest_s = self._recent[-1][0]
        points: list[tuple[float, float]] = []
        for time_s, share in reversed(self._recent):
            reach_s = window_s if len(points) > 1 else max(window_s, _PAIR_S)
            if newest_s - time_s > reach_s + SLACK_S:
                break
            points.append((time_s, share))
        return points[::-1]

    def forget(self) -> None:
        self._recent.clear()
        self._unsettled.clear()
        self.survived = 0.0


def _least_squares(points: list[tuple[float, float]]) -> float | None:
    """The slope of the line through points that are not all of one time; None if they are."""
    mean_s = sum(time_s for time_s, _ in points) / len(points)
    mean = sum(share for _, share in points) / len(points)
    spread = sum((time_s - mean_s) ** 2 for time_s, _ in points)
    return sum((time_s - mean_s) * (share - mean) for time_s, share in points) / spread if spread > 0 else None
