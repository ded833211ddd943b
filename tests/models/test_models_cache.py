"""The artifact cache."""

import json
import os
import threading
import time
from pathlib import Path

import pytest
from bakeoff.models.cache import (
    commit,
    default_cache,
    disk_errors,
    hash_file,
    hash_mapping,
    lookup,
    publish,
    staging,
)
from bakeoff.models.errors import UserError
from hypothesis import given
from hypothesis import strategies as st


def _write(text):
    def build(folder):
        (folder / "sub").mkdir()
        (folder / "sub" / "a.txt").write_text(text)

    return build


def test_publishes_once(tmp_path):
    """The second publisher of a key gets the first one's entry and builds nothing."""
    first = publish(tmp_path, "kind", "key", _write("one"))
    second = publish(tmp_path, "kind", "key", _write("two"))

    assert first == second == tmp_path / "kind" / "key"
    assert "one" == (second / "sub" / "a.txt").read_text()
    assert [] == list((tmp_path / "tmp").iterdir())


@pytest.mark.parametrize(
    "damage",
    [
        lambda entry: (entry / "sub" / "a.txt").write_text("OnE"),
        lambda entry: (entry / "sub" / "a.txt").unlink(),
        lambda entry: (entry / "extra").write_text(""),
        lambda entry: (entry / "seal.json").unlink(),
        lambda entry: (entry / "seal.json").write_text('{"sub/a'),
        lambda entry: (entry / "seal.json").write_text("[1]"),
    ],
)
def test_rebuilds_a_damaged_entry(tmp_path, damage):
    """An entry whose files do not match its seal counts as absent, and publishing replaces it."""
    damage(publish(tmp_path, "kind", "key", _write("one")))

    assert lookup(tmp_path, "kind", "key") is None

    entry = publish(tmp_path, "kind", "key", _write("two"))

    assert "two" == (entry / "sub" / "a.txt").read_text()
    assert entry == lookup(tmp_path, "kind", "key")


def test_concurrent_publishers_agree(tmp_path):
    """Of publishers that race, one wins, and all others see its copy."""
    barrier = threading.Barrier(4)
    seen = []

    def race(number):
        def build(folder):
            barrier.wait()
            (folder / "a.txt").write_text(str(number))

        entry = publish(tmp_path, "kind", "key", build)
        seen.append((entry / "a.txt").read_text())

    threads = [threading.Thread(target=race, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert 4 == len(seen)
    assert 1 == len(set(seen))
    assert lookup(tmp_path, "kind", "key") is not None


def test_a_failed_build_leaves_nothing(tmp_path):
    """An exception while building publishes nothing and cleans up."""

    def build(folder):
        (folder / "half").write_text("x")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        publish(tmp_path, "kind", "key", build)

    assert lookup(tmp_path, "kind", "key") is None
    assert [] == list((tmp_path / "tmp").iterdir())


def test_staging_sweeps_what_killed_processes_left(tmp_path):
    """Folders in the making that are older than a day are removed; younger ones may be in use."""
    old, young = tmp_path / "tmp" / "old", tmp_path / "tmp" / "young"
    old.mkdir(parents=True)
    young.mkdir()
    past = time.time() - 2 * 24 * 3600
    os.utime(old, (past, past))

    with staging(tmp_path):
        assert not old.exists()
        assert young.exists()


def test_a_full_disk_is_the_users_to_mend(tmp_path):
    """ENOSPC becomes one line that names the cache folder."""
    with pytest.raises(UserError, match="the disk is full") as caught, disk_errors(tmp_path):
        Path("/dev/full").write_text("x")

    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_disk_errors_pass(tmp_path):
    """Errors that are not about space or permission keep their class."""
    with pytest.raises(FileNotFoundError), disk_errors(tmp_path):
        (tmp_path / "missing").read_text()
    with pytest.raises(PermissionError), disk_errors(tmp_path):
        raise PermissionError(13, "Permission denied", "/elsewhere/model.onnx")


def test_a_cache_that_cannot_be_made_is_a_user_error(tmp_path):
    """A cache below something that may not be written names the variable that moves it."""
    with pytest.raises(UserError, match="BAKEOFF_CACHE"), disk_errors(tmp_path):
        raise PermissionError(13, "Permission denied", str(tmp_path / "onnx"))


def test_commit_keeps_an_intact_entry(tmp_path):
    """Committing to a key that is there drops the new copy."""
    publish(tmp_path, "kind", "key", _write("one"))
    with staging(tmp_path) as work:
        made = work / "entry"
        made.mkdir()
        (made / "b.txt").write_text("b")
        entry = commit(made, tmp_path, "kind", "key")

    assert not (entry / "b.txt").exists()


def test_the_environment_moves_the_cache(monkeypatch, tmp_path):
    """BAKEOFF_CACHE wins over the user's cache folder."""
    monkeypatch.setenv("BAKEOFF_CACHE", str(tmp_path))
    assert tmp_path == default_cache()

    monkeypatch.delenv("BAKEOFF_CACHE")
    assert "bakeoff" == default_cache().name


def test_hash_file_is_sha256(tmp_path):
    """The hash of an empty file is sha256's well-known one."""
    (tmp_path / "empty").write_bytes(b"")
    assert hash_file(tmp_path / "empty").startswith("e3b0c44298fc1c14")


@given(st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.integers())))
def test_hash_mapping_ignores_order_only(mapping):
    """The order of keys does not matter; a change of any value does, and JSON does not confuse types."""
    assert hash_mapping(mapping) == hash_mapping(dict(reversed(mapping.items())))
    assert hash_mapping(mapping) == hash_mapping(json.loads(json.dumps(mapping)))
    assert hash_mapping(mapping) != hash_mapping({**mapping, "more": 1.5})
