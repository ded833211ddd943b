"""Runs in the store: read back exactly, durable cell by cell, and every failure told in one line."""

from __future__ import annotations

import math
import os
import runpy
import shutil
import sqlite3
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from bakeoff.harness.store import Store, suite_fingerprint
from bakeoff.harness.store import migrations as migrations_package
from bakeoff.harness.store.database import BUSY_TIMEOUT_S, open_engine, reading, store_url
from bakeoff.harness.store.migrations import HEAD, VERSION_TABLE
from bakeoff.harness.store.samples import pack_samples, unpack_samples
from bakeoff.harness.store.tables import METADATA
from bakeoff.models.errors import UnknownNameError, UserError
from bakeoff.reports.results import CheckResult, Control, MachineState, Phase
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

_EXAMPLES = runpy.run_path(str(Path(__file__).with_name("store_examples.py")))  # test folders are no packages
make_run, make_cell = _EXAMPLES["make_run"], _EXAMPLES["make_cell"]

NOW = datetime(2026, 11, 24, 3, 7, 11, 123456, tzinfo=UTC)


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new store without a run."""
    path = tmp_path_factory.mktemp("store") / "empty.sqlite3"
    Store.open(str(path))
    return path


@pytest.fixture
def path(empty_store: Path, tmp_path: Path) -> Path:
    """The path of a new store."""
    return shutil.copy(empty_store, tmp_path / "bakeoff.sqlite3")


@pytest.fixture
def store(path: Path) -> Store:
    """A new store."""
    return Store.open(str(path))


milliseconds = st.one_of(st.integers(0, 10**13).map(lambda nanoseconds: nanoseconds / 1e6), st.floats())
"""What a clock of nanoseconds gives, and whatever an imported run may hold."""


class TestSamples:
    @settings(max_examples=50)
    @given(st.lists(st.lists(milliseconds, max_size=20).map(tuple), max_size=6).map(tuple))
    def test_exact(self, blocks: tuple[tuple[float, ...], ...]) -> None:
        """Samples come back bit by bit, NaN and negative zero too, block by block."""
        found = unpack_samples(pack_samples(blocks))

        assert [len(block) for block in blocks] == [len(block) for block in found]
        for expected, value in zip(sum(blocks, ()), sum(found, ()), strict=True):
            assert expected.hex() == value.hex()

    def test_nanoseconds_are_small(self) -> None:
        """A thousand latencies near each other take less than 3 bytes each."""
        block = tuple((8_000_000 + (7919 * i) % 50_000) / 1e6 for i in range(1000))

        assert len(pack_samples((block,))) < 3000

    @given(st.binary(max_size=60))
    def test_anything_else_is_refused(self, blob: bytes) -> None:
        """Bytes that are no samples raise ValueError and nothing else."""
        with pytest.raises(ValueError, match="samples"):
            unpack_samples(blob)

    def test_cut_blob_is_refused(self) -> None:
        """A blob that states other lengths than it has is refused."""
        raw = zlib.decompress(pack_samples(((1.0, 2.0), (3.0,))))
        for end in range(len(raw)):
            with pytest.raises(ValueError, match="samples"):
                unpack_samples(zlib.compress(raw[:end]))


class TestRoundTrip:
    def test_whole_run(self, store: Store) -> None:
        """A run comes back as it was created, with what was added to it in order."""
        run = make_run("r1")
        cells = tuple(make_cell(key) for key in ("b", "a", "c"))
        control = Control(group="g", cell="a", median_ms=1.0, twin_median_ms=1.01, ratio=1.01, floor=0.02, rounds=9)
        states = tuple(MachineState(when=NOW + timedelta(seconds=i), load_1m=i / 10) for i in range(2))
        phases = (Phase(name="export", seconds=1.5), Phase(name="export", seconds=0.1))

        store.create_run(run)
        for cell in cells:
            assert store.add_cell("r1", cell)
        store.add_control("r1", control)
        for state in states:
            store.add_state("r1", state)
        for phase in phases:
            store.add_phase("r1", phase)

        added = {"cells": cells, "controls": (control,), "states": states, "phases": phases}
        assert run.model_copy(update=added) == store.load_run("r1")
        assert frozenset("abc") == store.finished_keys("r1")

    @settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        reason=st.text(st.characters(codec="utf-8")),
        error=st.floats(),
        blocks=st.lists(st.lists(milliseconds, min_size=1, max_size=4).map(tuple), max_size=3).map(tuple),
    )
    def test_any_cell(self, store: Store, reason: str, error: float, blocks: tuple[tuple[float, ...], ...]) -> None:
        """Whatever a cell holds comes back: any text, NaN and infinity, any samples."""
        if not store.list_runs():
            store.create_run(make_run("any"))
        check = CheckResult(reference="r", max_abs_error=error, max_rel_error=error, tolerance=0.1)
        changes = {"reason": reason, "check": check, "blocks_ms": blocks}
        cell = make_cell(str(len(store.finished_keys("any")))).model_copy(update=changes)

        store.add_cell("any", cell)

        assert repr(cell) == repr(store.load_run("any").cells[-1])

    def test_text_that_is_no_unicode(self, store: Store) -> None:
        """A stray byte in a text costs that letter, not the cell."""
        store.create_run(make_run("r1"))
        store.add_cell("r1", make_cell("k").model_copy(update={"reason": "caf\udce9.onnx"}))

        assert "caf?.onnx" == store.load_run("r1").cells[0].reason

    def test_first_cell_of_a_key_stays(self, store: Store) -> None:
        """A key that is there already is left as it is."""
        first = make_cell("k")
        store.create_run(make_run("r1"))

        assert store.add_cell("r1", first)
        assert not store.add_cell("r1", first.model_copy(update={"notes": ("measured again",)}))
        assert (first,) == store.load_run("r1").cells

    def test_manifest_can_be_updated(self, store: Store) -> None:
        """What is learnt during a run replaces its manifest, and its cells stay."""
        run, cell = make_run("r1"), make_cell("k")
        store.create_run(run)
        store.add_cell("r1", cell)
        store.update_run(run.model_copy(update={"noise_floor": 0.012, "notes": ("a note",)}))
        store.set_status("r1", "finished", NOW)

        found = store.load_run("r1")

        assert (0.012, ("a note",), "finished", NOW, (cell,)) == (
            found.noise_floor,
            found.notes,
            found.status,
            found.finished_at,
            found.cells,
        )

    def test_import_is_idempotent(self, store: Store) -> None:
        """The same run is imported once; another run under its id is refused and nothing changes."""
        run = make_run("r1").model_copy(update={"cells": (make_cell("k"),)})

        assert store.import_run(run)
        assert not store.import_run(run)
        with pytest.raises(UserError, match="other contents"):
            store.import_run(run.model_copy(update={"suite": "another"}))
        assert run == store.load_run("r1")


class TestFinding:
    def test_by_prefix_and_latest(self, store: Store) -> None:
        """A run is found by its id, by the beginning of it, or as the latest."""
        for i, name in enumerate(("abc1", "abd2", "abd")):
            store.create_run(make_run(name, created_at=NOW + timedelta(seconds=i)))

        assert "abc1" == store.load_run("abc").id
        assert "abd" == store.load_run("abd").id
        assert "abd" == store.load_run("latest").id
        assert ["abd", "abd2", "abc1"] == [summary.id for summary in store.list_runs()]

    def test_unknown_and_ambiguous(self, store: Store) -> None:
        """An unknown name suggests near ones; a prefix of several runs names them."""
        with pytest.raises(UserError, match="holds no run yet"):
            store.load_run("latest")
        for name in ("20261124-a", "20261124-b"):
            store.create_run(make_run(name))

        with pytest.raises(UserError, match="ambiguous: 20261124-a, 20261124-b; type more"):
            store.load_run("2026")
        with pytest.raises(UnknownNameError, match="no such run: '20261124-c'; did you mean 20261124"):
            store.load_run("20261124-c")
        with pytest.raises(UnknownNameError):
            store.load_run("")
        with pytest.raises(UnknownNameError):
            store.add_cell("nobody", make_cell("k"))

    def test_summaries(self, store: Store) -> None:
        """A summary counts the cells and names the target."""
        run = make_run("r1")
        store.create_run(run)
        store.add_cell("r1", make_cell("k"))

        (summary,) = store.list_runs()

        assert ("r1", NOW, None, "running", 1) == (
            summary.id,
            summary.created_at,
            summary.finished_at,
            summary.status,
            summary.cells,
        )
        assert (run.target.name, (run.target,)) == (summary.target_name, store.list_targets())

    def test_unfinished(self, store: Store) -> None:
        """The newest unfinished run of the same suite on the same target is found, no other."""
        wanted = make_run("old", suite_config={"threads": [1, 2]})
        fingerprint = suite_fingerprint(wanted.suite_config, wanted.target_id)
        store.create_run(wanted)
        store.create_run(make_run("other", suite_config={"threads": [1]}))

        assert "old" == store.unfinished_run(fingerprint)
        store.set_status("old", "interrupted")
        assert "old" == store.unfinished_run(fingerprint)
        store.set_status("old", "finished", NOW)
        assert store.unfinished_run(fingerprint) is None
        assert suite_fingerprint(wanted.suite_config, "elsewhere") != fingerprint


class TestSchema:
    def test_tables_are_what_the_migrations_make(self, path: Path) -> None:
        """The migrations lead to the tables in the code, and the head that is noted is the newest revision."""
        config = Config()
        config.set_main_option("script_location", str(Path(migrations_package.__file__).parent))
        with reading(open_engine(store_url(str(path)))) as connection:
            context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
            differences = compare_metadata(context, METADATA)

        assert [] == differences
        assert (HEAD,) == tuple(ScriptDirectory.from_config(config).get_heads())

    def test_empty_file_becomes_a_store(self, tmp_path: Path) -> None:
        """A file of zero bytes, and a folder that does not exist yet, are a fine place to begin."""
        (tmp_path / "empty.sqlite3").touch()
        for place in (tmp_path / "empty.sqlite3", tmp_path / "new" / "folder" / "s.sqlite3"):
            Store.open(str(place)).create_run(make_run("r1"))
            assert "r1" == Store.open(str(place)).load_run("latest").id

    def test_older_schema_is_upgraded(self, path: Path) -> None:
        """A store that stopped before the first revision is brought up to date when it is opened."""
        with sqlite3.connect(path) as old:
            for table in reversed(METADATA.sorted_tables):
                old.execute(f"DROP TABLE {table.name}")
            old.execute(f"DELETE FROM {VERSION_TABLE}")
        old.close()

        Store.open(str(path)).create_run(make_run("r1"))

        assert "r1" == Store.open(str(path)).load_run("r1").id

    def test_newer_schema_is_refused(self, path: Path) -> None:
        """A store of a newer bakeoff is refused in one line and left as it is."""
        with sqlite3.connect(path) as newer:
            newer.execute(f"UPDATE {VERSION_TABLE} SET version_num = 'r0999'")
        newer.close()
        before = path.read_bytes()

        with pytest.raises(UserError, match=r"made by a newer bakeoff \(schema r0999.*upgrade bakeoff"):
            Store.open(str(path))

        assert before == path.read_bytes()

    def test_another_programs_database_is_refused(self, tmp_path: Path) -> None:
        """Tables are never added to a database of something else."""
        with sqlite3.connect(tmp_path / "bookmarks.sqlite3") as other:
            other.execute("CREATE TABLE bookmarks (url TEXT)")
        other.close()

        with pytest.raises(UserError, match="another program"):
            Store.open(str(tmp_path / "bookmarks.sqlite3"))

    def test_opened_by_several_processes_at_once(self, tmp_path: Path) -> None:
        """Processes that open a new store at the same moment all succeed, and it is made once."""
        done = run_script("open", tmp_path / "s.sqlite3", 4)

        assert "0000" == "".join(done.stdout.split())  # their lines may run into each other
        assert "" == done.stderr
        Store.open(str(tmp_path / "s.sqlite3")).create_run(make_run("r1"))

    def test_another_process_is_making_the_same_store(
        self, half_made: sqlite3.Connection, clock: Clock, tmp_path: Path
    ) -> None:
        """SQLite refuses the switch to the write-ahead log at once while another holds the lock: it is tried again."""
        clock.after = {2: half_made.close}

        Store.open(str(tmp_path / "s.sqlite3")).create_run(make_run("r1"))

        assert 2 == clock.pauses
        with closing(sqlite3.connect(tmp_path / "s.sqlite3")) as made:
            assert [("wal",)] == made.execute("PRAGMA journal_mode").fetchall()

    @pytest.mark.usefixtures("half_made")
    def test_another_process_never_ends_making_it(self, clock: Clock, tmp_path: Path) -> None:
        """It is not tried for ever."""
        with pytest.raises(UserError, match=f"has been locked by another process for {BUSY_TIMEOUT_S} s"):
            Store.open(str(tmp_path / "s.sqlite3"))

        assert BUSY_TIMEOUT_S < clock.seconds < BUSY_TIMEOUT_S + 1


@pytest.fixture
def half_made(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A connection to a new file that holds its lock, as that of a process which is making a store does."""
    with closing(sqlite3.connect(tmp_path / "s.sqlite3", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield other


@dataclass
class Clock:
    """A clock that only runs while somebody waits; after so many waits something happens."""

    seconds: float = 0.0
    pauses: int = 0
    after: Mapping[int, Callable[[], None]] = field(default_factory=dict)

    def monotonic(self) -> float:
        """Seconds waited for."""
        return self.seconds

    def sleep(self, seconds: float) -> None:
        """Wait."""
        self.seconds += seconds
        self.pauses += 1
        self.after.get(self.pauses, lambda: None)()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that the store's database goes by."""
    made = Clock()
    monkeypatch.setattr("bakeoff.harness.store.database.time", made)
    return made


def run_script(*arguments: object) -> subprocess.CompletedProcess[str]:
    """What `store_processes.py` does with *arguments*."""
    script = Path(__file__).with_name("store_processes.py")
    command = [sys.executable, str(script), *map(str, arguments)]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # the script forks, which wants a single thread
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.mark.slow
class TestDurability:
    def test_killed_in_mid_write(self, store: Store, path: Path) -> None:
        """Of writers killed at 20 moments, every cell that was said to be stored is there, whole and in order."""
        store.create_run(make_run("r1"))

        said = run_script("kill", path, 20).stdout.split()

        found = Store.open(str(path)).load_run("r1").cells
        keys = [cell.key for cell in found]
        assert len(said) > 20
        assert said == [key for key in keys if key in set(said)]
        assert len(keys) - len(said) <= 20  # stored, but killed before it could be said
        assert [make_cell(key) for key in keys] == list(found)

    def test_two_writers(self, store: Store, path: Path) -> None:
        """Two processes that write at once wait for each other; nothing is lost."""
        store.create_run(make_run("r1"))

        done = run_script("write", path, 2, 25)

        assert "" == done.stderr
        assert {f"{writer}/{i}" for writer in range(2) for i in range(25)} == store.finished_keys("r1")

    def test_disk_full(self, store: Store, path: Path) -> None:
        """When the disk is full, one line says so, and what was stored before is still there."""
        store.create_run(make_run("r1"))
        store.add_cell("r1", make_cell("before"))

        done = run_script("full", path, 300_000)

        said, error = done.stdout.split()[:-1], done.stderr.splitlines()[-1]
        assert done.returncode == 1
        assert "UserError: " in error
        assert f"{path}: " in error
        assert "what was finished" in error
        assert done.stdout.split()[-1] == "then"
        assert {"before", *said} == Store.open(str(path)).finished_keys("r1")
        assert len(said) > 10


class TestBadDatabases:
    def test_not_a_database(self, tmp_path: Path) -> None:
        """A file that is something else is named and left alone."""
        (tmp_path / "s.sqlite3").write_text("hello, world\n" * 100)

        with pytest.raises(UserError, match=r"s\.sqlite3: is not a SQLite database"):
            Store.open(str(tmp_path / "s.sqlite3"))

        assert (tmp_path / "s.sqlite3").read_text().startswith("hello, world\n")

    @pytest.mark.parametrize("content", [b"x", b"my notes\n", bytes(511), b"SQLite format 3 is nice"])
    def test_small_file_of_something_else(self, tmp_path: Path, content: bytes) -> None:
        """SQLite would take a file of less than 512 bytes for an empty database and write over it."""
        (tmp_path / "notes").write_bytes(content)

        with pytest.raises(UserError, match="notes: is not a SQLite database; move the file away or name another"):
            Store.open(str(tmp_path / "notes"))

        assert content == (tmp_path / "notes").read_bytes()

    def test_empty_file(self, tmp_path: Path) -> None:
        """An empty file, as `mktemp` makes one, becomes a store."""
        (tmp_path / "s.sqlite3").touch()

        Store.open(str(tmp_path / "s.sqlite3")).create_run(make_run("r1"))

        assert "r1" == Store.open(str(tmp_path / "s.sqlite3")).load_run("r1").id

    def test_damaged(self, store: Store, path: Path) -> None:
        """A file whose pages are overwritten is called damaged."""
        store.create_run(make_run("r1"))
        for i in range(30):
            store.add_cell("r1", make_cell(str(i)))
        content = bytearray(path.read_bytes())
        content[4096:] = b"\xff" * (len(content) - 4096)
        path.write_bytes(content)

        with pytest.raises(UserError, match="is damaged"):
            Store.open(str(path)).load_run("r1")

    def test_damaged_samples(self, store: Store, path: Path) -> None:
        """Samples that cannot be unpacked name their run and cell."""
        store.create_run(make_run("r1"))
        store.add_cell("r1", make_cell("k"))
        with sqlite3.connect(path) as database:
            database.execute("UPDATE cells SET samples = x'00'")
        database.close()

        with pytest.raises(UserError, match="run r1: cell k: samples cannot be decompressed"):
            store.load_run("r1")

    def test_read_only(self, store: Store, path: Path) -> None:
        """A store that may only be read is read; writing to it is refused in one line."""
        store.create_run(make_run("r1"))
        read_only = Store.open(f"sqlite:///file:{path}?mode=ro&uri=true")

        assert "r1" == read_only.load_run("r1").id
        with pytest.raises(UserError, match="is read-only"):
            read_only.add_cell("r1", make_cell("k"))
        assert frozenset() == store.finished_keys("r1")

    @pytest.mark.parametrize(
        ("place", "words"),
        [
            ("{here}", "cannot be opened"),
            ("{here}/file/s.sqlite3", "cannot make the store's folder"),
            ("nonsense://host/name", "no database driver"),
            ("postgresql+nonsense://host/name", "no database driver"),
            ("://", "not a database URL"),
            ("sqlite://", "in memory"),
            ("sqlite:///:memory:", "in memory"),
        ],
    )
    def test_no_such_place(self, tmp_path: Path, place: str, words: str) -> None:
        """A place that cannot be a store is told in one line."""
        (tmp_path / "file").write_text("")

        with pytest.raises(UserError, match=words) as caught:
            Store.open(place.format(here=tmp_path))

        assert 1 == len(str(caught.value).splitlines())

    def test_password_is_not_shown(self) -> None:
        """A URL in an error message has no password in it."""
        with pytest.raises(UserError) as caught:
            Store.open("nonsense://me:hunter2@host/name")

        assert "hunter2" not in str(caught.value)


def test_where_the_store_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A place that is named wins over BAKEOFF_STORE, which wins over the user's data folder."""
    monkeypatch.delenv("BAKEOFF_STORE", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert str(tmp_path / "bakeoff" / "bakeoff.sqlite3") == store_url(None).database
    monkeypatch.setenv("BAKEOFF_STORE", "postgresql+psycopg://host/name")
    assert "postgresql+psycopg" == store_url(None).drivername
    assert "/a/b.sqlite3" == store_url("/a/b.sqlite3").database


def test_infinite_errors_are_told_apart_in_json() -> None:
    """In the public JSON, NaN and infinity are not null, which means "not measured"."""
    check = CheckResult(reference="r", max_abs_error=math.inf, max_rel_error=math.nan, tolerance=0.1)

    assert math.isnan(CheckResult.model_validate_json(check.model_dump_json()).max_rel_error)
    assert math.isinf(CheckResult.model_validate_json(check.model_dump_json()).max_abs_error)
