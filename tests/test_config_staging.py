"""What `staging:` does to the other settings: a cache is off, and a run keeps its format."""

from pathlib import Path

import pytest
from config_cases import on_gpu, problems_of, profile_file, settle

from sainet.errors import UsageError
from sainet.run.identity import check_same_training, training_identity


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("cache", ["ram", "disk"])
def test_a_cache_of_the_profile_is_off_and_a_warning_says_so(cache: str) -> None:
    mine = profile_file(f"loader: {{cache: {cache}, workers: 0}}\nstaging: {{to: shm}}\n")
    resolved = settle(profile=mine)
    assert resolved.config.loader.cache is False
    told = f"the images are staged in memory, in place of {cache}"
    assert str(resolved.origin("loader.cache")) == f"auto: {told}"
    assert f"loader.cache is off: {told}, which would be a second copy" in resolved.warnings
    assert settle(profile=mine, sets=["staging.to=null"]).config.loader.cache == cache


def test_a_cache_that_was_typed_stays_so_that_it_is_refused() -> None:
    mine = profile_file("loader: {workers: 0}\nstaging: {to: shm}\n")
    for typed in (settle(profile=mine, sets=["cache=ram"]), settle(profile=mine, project="loader: {cache: ram}\n")):
        assert typed.config.loader.cache == "ram"
        assert any("caches twice" in warning for warning in typed.warnings)


def test_another_form_is_told_and_one_that_is_none_is_refused() -> None:
    smaller = on_gpu("staging.to=shm", "staging.format=jpeg-896", "train.imgsz=[1440, 808]").warnings
    assert any("changes the pixels a little" in warning for warning in smaller)
    assert "staging.format: jpeg-896 is smaller than the 1440 pixels that are trained" in smaller
    assert "staging.format has no effect without staging.to" in settle(sets=["staging.format=raw-640"]).warnings
    (problem,) = problems_of(sets=["staging.format=webp"])
    assert "`staging.format` should be as-is, jpeg-N or raw-N with N from 64 to 8192, as in jpeg-1440" in problem


def test_a_run_keeps_its_pixels_and_may_move_them() -> None:
    plain = training_identity(settle())
    check_same_training(plain, settle(sets=["staging.to=shm"]), run="one")
    check_same_training(plain, settle(sets=["staging.format=raw-640"]), run="one")
    with pytest.raises(UsageError, match=r"staging\.format = 'as-is', not 'raw-640'"):
        check_same_training(plain, settle(sets=["staging.to=shm", "staging.format=raw-640"]), run="one")
