"""PyTorch's allocator settings, checked before the start: PyTorch itself reads them when the training is under way.

`PYTORCH_CUDA_ALLOC_CONF` and `PYTORCH_ALLOC_CONF` hold `option:value,option:value`.
"""

import difflib
import re
from collections.abc import Iterator

ALLOCATOR_VARIABLES = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")

SWITCHES = frozenset(
    {
        "expandable_segments",
        "graph_capture_record_stream_reuse",
        "pinned_free_catch_all",
        "pinned_use_background_threads",
        "pinned_use_cuda_host_register",
        "pinned_use_hip_host_register",
        "release_lock_on_cudamalloc",
        "release_lock_on_hipmalloc",
        "throw_on_cudamalloc_oom",
    }
)
"""Options of torch 2.14 that take `True` or `False`, in just this spelling."""

OPTIONS = SWITCHES | {
    "backend",
    "garbage_collection_threshold",
    "large_segment_size_mb",
    "max_non_split_rounding_mb",
    "max_split_size_mb",
    "per_process_memory_fraction",
    "pinned_max_cached_size_mb",
    "pinned_max_round_threshold_mb",
    "pinned_num_register_threads",
    "pinned_reserve_segment_size_mb",
    "roundup_power2_divisions",
}
"""Every option of torch 2.14."""

_COMMA_OUTSIDE_BRACKETS = re.compile(r",(?![^\[]*\])")


def allocator_faults(text: str) -> Iterator[tuple[str, str]]:
    """What PyTorch would not take of `text`: each with what is wrong and a hint."""
    for part in _COMMA_OUTSIDE_BRACKETS.split(re.sub(r"\s", "", text)):
        name, colon, value = part.partition(":")
        if not part:
            continue
        if not colon or not value:
            yield f"`{part}` is not option:value", "for example max_split_size_mb:512,expandable_segments:True"
        elif name not in OPTIONS:
            near = difflib.get_close_matches(name, sorted(OPTIONS), n=1, cutoff=0.5)
            hint = f"did you mean `{near[0]}`?" if near else f"the options are {', '.join(sorted(OPTIONS))}"
            yield f"PyTorch's allocator has no option `{name}`", hint
        elif name in SWITCHES and value not in {"True", "False"}:
            yield f"`{name}` should be True or False; it is {value}", "PyTorch takes no other spelling"
