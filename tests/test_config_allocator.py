"""PyTorch's allocator settings in a profile's `env`: misspelled ones do not wait for the training to find them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from config_cases import problems_of, settle

from sainet.config.allocator import OPTIONS, SWITCHES, allocator_faults

TORCH = tuple(int(part) for part in torch.__version__.split(".")[:2])
NUMBERS = {
    "backend": "native",
    "garbage_collection_threshold": "0.8",
    "per_process_memory_fraction": "0.9",
    "roundup_power2_divisions": "[256:1,512:2,>:8]",
}
"""Values that PyTorch takes for what is neither a switch nor a number like 64."""


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def _settings_put_back() -> Iterator[None]:
    before = torch._C._accelerator_getAllocatorSettings()
    yield
    torch._C._accelerator_setAllocatorSettings(before)


@pytest.mark.skipif(TORCH < (2, 14), reason="the options are those of torch 2.14")
@pytest.mark.usefixtures("_settings_put_back")
@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_pytorch_itself_takes_every_option_and_no_other_spelling_of_a_switch(name: str) -> None:
    parse = torch._C._accelerator_setAllocatorSettings
    value = "False" if name in SWITCHES else NUMBERS.get(name, "64")
    parse(f"{name}:{value}")
    if name in SWITCHES:
        with pytest.raises(ValueError, match="Expected 'True' or 'False'"):
            parse(f"{name}:false")
    with pytest.raises(ValueError, match="Unrecognized key"):
        parse(f"{name}x:{value}")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "max_split_size_mb:512",
        " max_split_size_mb : 512 , expandable_segments:True,",
        "roundup_power2_divisions:[256:1,512:2,>:8],garbage_collection_threshold:0.8",
    ],
)
def test_what_pytorch_takes_has_no_faults(text: str) -> None:
    assert list(allocator_faults(text)) == []


@pytest.mark.parametrize("name", ["PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF"])
@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("max_split_size:512", "PyTorch's allocator has no option `max_split_size`", "mean `max_split_size_mb`?"),
        ("zzz:512", "PyTorch's allocator has no option `zzz`", "the options are backend, expandable_segments, "),
        ("max_split_size_mb=512", "`max_split_size_mb=512` is not option:value", "for example max_split_size_mb:512"),
        ("backend:", "`backend:` is not option:value", "for example"),
        ("expandable_segments:true", "`expandable_segments` should be True or False; it is true", "no other spelling"),
    ],
)
def test_a_wrong_setting_is_an_error_with_its_place(name: str, text: str, message: str, hint: str) -> None:
    (problem,) = problems_of(project=f"env:\n  {name}: '{text}'\n")
    assert problem.startswith(f"sainet.yaml:2: `env.{name}`: {message}\n  hint: ")
    assert hint in problem


def test_both_variables_must_agree() -> None:
    both = "env:\n  PYTORCH_CUDA_ALLOC_CONF: backend:native\n  PYTORCH_ALLOC_CONF: backend:cudaMallocAsync\n"
    assert problems_of(project=both) == [
        "sainet.yaml:3: `env.PYTORCH_ALLOC_CONF` and `env.PYTORCH_CUDA_ALLOC_CONF` are the same setting and differ\n"
        "  hint: keep one"
    ]
    settle(project=both.replace("cudaMallocAsync", "native"))
