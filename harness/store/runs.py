"""Runs in the store: written cell by cell, each durable before the next is measured, and read back exactly."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticSerializationError
from sqlalchemy import Connection, Engine, RowMapping, Table, delete, func, insert, select, update

from ...models.errors import UnknownNameError, UserError
from ...reports.results import Cell, Control, MachineState, Phase, Run, Target
from .database import migrate, open_engine, reading, store_url, writing
from .samples import pack_samples, unpack_samples
from .tables import cells, controls, phases, runs, states, targets

__all__ = ["RunSummary", "Store", "suite_fingerprint"]

Record = TypeVar("Record", bound=BaseModel)
Status = Literal["running", "interrupted", "finished"]
_DETAILS: dict[str, Table] = {"controls": controls, "states": states, "phases": phases}


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """One line of `bakeoff list runs`."""

    id: str
    created_at: datetime
    finished_at: datetime | None
    status: Status
    suite: str
    target_id: str
    target_name: str
    cells: int


def suite_fingerprint(suite_config: Mapping[str, object], target_id: str) -> str:
    """Tells whether two runs are the same suite on the same target: sha256 over both."""
    canonical = json.dumps([target_id, suite_config], sort_keys=True, default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()


@dataclass(frozen=True)
class Store:
    """All runs of one database. Every method is one transaction; nothing is kept open between two.

    Every method raises UserError, in one line that names the store, if the database cannot be used; what was written
    before stays.
    """

    engine: Engine

    @classmethod
    def open(cls, place: str | None = None) -> Store:
        """Open the store at *place*, a path or a database URL, and make or upgrade its tables.

        None means the environment variable BAKEOFF_STORE, or else the file in the user's data folder. Raises UserError
        also for a store of a newer bakeoff.
        """
        engine = open_engine(store_url(place))
        migrate(engine)
        return cls(engine)

    def create_run(self, run: Run) -> None:
        """Add *run* with all that it holds. Raises UserError if its id is taken."""
        with writing(self.engine) as connection:
            if _exists(connection, run.id):
                raise UserError(f"run {run.id} is already in the store")
            _insert_run(connection, run)

    def import_run(self, run: Run) -> bool:
        """Add a run from elsewhere; False if this very run is there already.

        Raises UserError if another run has its id.
        """
        with writing(self.engine) as connection:
            if not _exists(connection, run.id):
                _insert_run(connection, run)
                return True
            stored = _read_run(connection, run.id)
        if stored.model_dump_json() != run.model_dump_json():
            raise UserError(f"run {run.id} is already in the store with other contents; nothing was imported")
        return False

    def add_cell(self, run_id: str, cell: Cell) -> bool:
        """Add a finished cell; when this returns it is on the disk. The first cell of a key stays: False for others."""
        with writing(self.engine) as connection:
            _require(connection, run_id)
            taken = select(cells.c.id).where(cells.c.run_id == run_id, cells.c.key == cell.key)
            if connection.execute(taken).first() is not None:
                return False
            _insert_cell(connection, run_id, cell)
            return True

    def add_control(self, run_id: str, control: Control) -> None:
        """Add an A/A control."""
        self._add_detail(run_id, "controls", control)

    def add_state(self, run_id: str, state: MachineState) -> None:
        """Add a state of the machine."""
        self._add_detail(run_id, "states", state)

    def add_phase(self, run_id: str, phase: Phase) -> None:
        """Add the wall time of some work; phases of the same name are not merged."""
        self._add_detail(run_id, "phases", phase)

    def update_run(self, run: Run) -> None:
        """Replace what the store holds of *run* besides cells, controls, states and phases, which stay as they are."""
        with writing(self.engine) as connection:
            _require(connection, run.id)
            _keep_target(connection, run.target)
            connection.execute(update(runs).where(runs.c.id == run.id).values(**_columns(run)))

    def set_status(self, run_id: str, status: Status, finished_at: datetime | None = None) -> None:
        """Say how the run stands."""
        with writing(self.engine) as connection:
            manifest = dict(_require(connection, run_id)["manifest"])
            manifest["status"] = status
            manifest["finished_at"] = None if finished_at is None else finished_at.isoformat()
            values = {"status": status, "finished_at": finished_at, "manifest": manifest}
            connection.execute(update(runs).where(runs.c.id == run_id).values(**values))

    def delete_run(self, name: str) -> str:
        """Delete a run with all its cells, found as by `load_run`; return its id."""
        with writing(self.engine) as connection:
            run_id = _find(connection, name)
            for table in (cells, *_DETAILS.values()):
                connection.execute(delete(table).where(table.c.run_id == run_id))
            connection.execute(delete(runs).where(runs.c.id == run_id))
        return run_id

    def load_run(self, name: str) -> Run:
        """The run whose id is *name* or begins with it; "latest" is the one created last.

        Raises UnknownNameError if there is none, UserError if several ids begin so or its records are unreadable.
        """
        with reading(self.engine) as connection:
            return _read_run(connection, _find(connection, name))

    def list_runs(self) -> tuple[RunSummary, ...]:
        """All runs, the newest first."""
        counted = select(func.count()).where(cells.c.run_id == runs.c.id).correlate(runs).scalar_subquery()
        query = (
            select(runs, targets.c.name.label("target_name"), counted.label("cells"))
            .join(targets, targets.c.id == runs.c.target_id)
            .order_by(runs.c.created_at.desc(), runs.c.id.desc())
        )
        with reading(self.engine) as connection:
            rows = connection.execute(query).mappings().all()
        return tuple(RunSummary(**{field: row[field] for field in RunSummary.__dataclass_fields__}) for row in rows)

    def list_targets(self) -> tuple[Target, ...]:
        """All targets that the store has runs of, as last seen."""
        with reading(self.engine) as connection:
            facts = connection.execute(select(targets.c.facts).order_by(targets.c.id)).scalars().all()
        return tuple(_valid(Target, one, "a target") for one in facts)

    def unfinished_run(self, fingerprint: str) -> str | None:
        """Id of the newest run that is not finished among those with this `suite_fingerprint`; None if there is none.

        A run counts as unfinished also while another process is still at it.
        """
        query = (
            select(runs.c.id)
            .where(runs.c.suite_fingerprint == fingerprint, runs.c.status != "finished")
            .order_by(runs.c.created_at.desc(), runs.c.id.desc())
        )
        with reading(self.engine) as connection:
            return connection.execute(query.limit(1)).scalar()

    def finished_keys(self, run_id: str) -> frozenset[str]:
        """Keys of the cells that the run holds, whatever came of them."""
        with reading(self.engine) as connection:
            _require(connection, run_id)
            return frozenset(connection.execute(select(cells.c.key).where(cells.c.run_id == run_id)).scalars())

    def _add_detail(self, run_id: str, kind: str, record: BaseModel) -> None:
        with writing(self.engine) as connection:
            _require(connection, run_id)
            _insert_detail(connection, run_id, kind, record)


def _insert_run(connection: Connection, run: Run) -> None:
    _keep_target(connection, run.target)
    connection.execute(insert(runs).values(id=run.id, **_columns(run)))
    for cell in run.cells:
        _insert_cell(connection, run.id, cell)
    for kind in _DETAILS:
        for record in getattr(run, kind):
            _insert_detail(connection, run.id, kind, record)


def _columns(run: Run) -> dict[str, Any]:
    return {
        "created_at": run.created_at,
        "finished_at": run.finished_at,
        "status": run.status,
        "suite": run.suite,
        "suite_fingerprint": suite_fingerprint(run.suite_config, run.target_id),
        "target_id": run.target.id,
        "manifest": _plain(run.model_copy(update={"cells": (), **dict.fromkeys(_DETAILS, ())})),
    }


def _keep_target(connection: Connection, target: Target) -> None:
    values = {"name": target.name, "facts": _plain(target)}
    if connection.execute(update(targets).where(targets.c.id == target.id).values(**values)).rowcount == 0:
        connection.execute(insert(targets).values(id=target.id, **values))


def _insert_cell(connection: Connection, run_id: str, cell: Cell) -> None:
    facts = _plain(cell.model_copy(update={"blocks_ms": ()}))
    values = {"run_id": run_id, "key": cell.key, "facts": facts, "samples": pack_samples(cell.blocks_ms)}
    connection.execute(insert(cells).values(**values))


def _insert_detail(connection: Connection, run_id: str, kind: str, record: BaseModel) -> None:
    connection.execute(insert(_DETAILS[kind]).values(run_id=run_id, facts=_plain(record)))


def _plain(record: BaseModel) -> Any:
    """*record* as JSON data. Text that is no Unicode (a stray byte in a file's name) gets question marks."""
    try:
        return json.loads(record.model_dump_json())
    except PydanticSerializationError:
        dumped = json.dumps(record.model_dump(mode="json"), ensure_ascii=False)
        return json.loads(dumped.encode("utf-8", "replace"))


def _read_run(connection: Connection, run_id: str) -> Run:
    row = _require(connection, run_id)
    read = select(cells.c.key, cells.c.facts, cells.c.samples).where(cells.c.run_id == run_id).order_by(cells.c.id)
    what = f"run {run_id}"
    found = tuple(_read_cell(cell, what) for cell in connection.execute(read).mappings())
    details = {
        kind: connection.execute(select(table.c.facts).where(table.c.run_id == run_id).order_by(table.c.id))
        .scalars()
        .all()
        for kind, table in _DETAILS.items()
    }
    return _valid(Run, {**row["manifest"], **details, "cells": found}, what)


def _read_cell(row: RowMapping, what: str) -> Cell:
    try:
        samples = unpack_samples(row["samples"])
    except ValueError as error:
        raise UserError(f"{what}: cell {row['key']}: {error}; the store is damaged") from error
    return _valid(Cell, {**row["facts"], "blocks_ms": samples}, f"{what}: cell {row['key']}")


def _valid(kind: type[Record], facts: object, what: str) -> Record:
    try:
        return kind.model_validate(facts)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(
            f"{what} cannot be read: {where}: {first['msg']}; was it written by another bakeoff version?"
        ) from error


def _exists(connection: Connection, run_id: str) -> bool:
    return connection.execute(select(runs.c.id).where(runs.c.id == run_id)).first() is not None


def _require(connection: Connection, run_id: str) -> RowMapping:
    row = connection.execute(select(runs).where(runs.c.id == run_id)).mappings().first()
    if row is None:
        raise UnknownNameError("run", run_id, _ids(connection))
    return row


def _find(connection: Connection, name: str) -> str:
    if name == "latest":
        query = select(runs.c.id).order_by(runs.c.created_at.desc(), runs.c.id.desc()).limit(1)
        latest = connection.execute(query).scalar()
        if latest is None:
            raise UserError("the store holds no run yet; make one with `bakeoff run`")
        return str(latest)
    ids = _ids(connection)
    matching = [name] if name in ids else [run_id for run_id in ids if name and run_id.startswith(name)]
    if not matching:
        raise UnknownNameError("run", name, ids)
    if len(matching) > 1:
        shown = ", ".join(sorted(matching)[:5])
        raise UserError(f"run {name!r} is ambiguous: {shown}{', ...' if len(matching) > 5 else ''}; type more of it")
    return matching[0]


def _ids(connection: Connection) -> list[str]:
    return list(connection.execute(select(runs.c.id)).scalars())
