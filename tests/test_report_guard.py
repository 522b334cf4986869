"""What is told of the guard: why, what, and what to set next time, each thing once."""

from sainet.protocol import GuardActed, GuardMeasured, StageRestarting
from sainet.report.lines import told_line
from sainet.report.memory_now import MemoryNow, memory_words

GIB = 1024**3


def line(event: GuardActed | GuardMeasured | StageRestarting) -> str:
    parts = told_line(event, images_per_s=None, epochs=9, unicode=True)
    assert parts is not None
    return "  ".join(part.plain for part in parts)


def acted(level: str, action: str = "prefetch: prefetch_factor 4 -> 1") -> GuardActed:
    return GuardActed.model_validate(
        {
            "stage": 1,
            "attempt": 1,
            "resource": "ram",
            "level": level,
            "action": action,
            "reason": "RAM 93.1% of 24.0 GiB",
            "hint": "next time: --workers 2",
        }
    )


def test_a_step_is_told_with_its_reason_and_with_what_to_set_next_time() -> None:
    told = line(acted("soft"))
    assert told == (
        "guard, soft: RAM 93.1% of 24.0 GiB: prefetch: prefetch_factor 4 -> 1\n  hint: next time: --workers 2"
    )


def test_where_nothing_is_left_that_is_said() -> None:
    assert "nothing milder can be done" in line(acted("soft", "none"))
    assert "nothing is left to be done" in line(acted("hard", "none"))
    assert "done" not in line(acted("clear", "none"))


def test_after_a_failure_the_reason_stands_in_the_line_before_and_is_not_repeated() -> None:
    restarting = StageRestarting(
        stage=1, attempt=1, cause="kernel out of memory", message="the kernel killed it", restart=1, of=3
    )
    assert line(restarting) == "restarting: the kernel killed it [restart 1 of 3]"
    assert "RAM 93.1%" not in line(acted("failure"))


def test_the_effect_of_a_step_is_told_in_bytes_and_whether_it_helped() -> None:
    figures = {"stage": 1, "attempt": 1, "resource": "shm", "action": "workers: workers 4 -> 2"}
    sizes = {"before_bytes": 9 * GIB, "after_bytes": 6 * GIB, "limit_bytes": 10 * GIB}
    helped = GuardMeasured.model_validate({**figures, **sizes, "helped": True})
    assert line(helped) == "guard, effect of workers: workers 4 -> 2: 3.0 GiB less (shm 9.0 -> 6.0 of 10.0 GiB)"
    useless = helped.model_copy(update={"after_bytes": 9 * GIB, "helped": False})
    assert line(useless).endswith("; no help")


def test_the_memory_of_this_moment_has_its_limits_its_headroom_and_what_it_has_cost() -> None:
    now = MemoryNow(
        ram=(20 * GIB, 24 * GIB), shm=(1 * GIB, 12 * GIB), vram=((30 * GIB, 40 * GIB),), lowered=("workers 2",)
    )
    assert memory_words(now) == [
        "RAM 20.0/24.0 GiB, 4.0 left",
        "shm 1.0/12.0",
        "VRAM 30.0/40.0",
        "lowered: workers 2",
    ]
    assert memory_words(MemoryNow(shm=(1, 12 * GIB))) == [], "what is empty is not shown"
