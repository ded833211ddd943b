"""Run bundles: one run in one zip file, to carry it between machines.

A bundle holds `run.json` (the public form of a `Run`, with all samples), other files below `files/` (scripts that
reproduce failures), and `manifest.json` with the sha256 and size of each. Bundles come from anywhere: nothing in one is
believed before it is checked, no more is unpacked than the bounds below, and nothing is ever executed.
"""

from __future__ import annotations

import hashlib
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from ...models.errors import UserError
from ...reports.results import SCHEMA_VERSION, Run
from ..folders import write_atomically

__all__ = ["export_bundle", "extract_files", "import_bundle"]

BUNDLE_VERSION = 1
MAX_FILES = 2_000
MAX_MANIFEST_BYTES = 2 * 2**20
MAX_RUN_BYTES = 256 * 2**20
MAX_FILE_BYTES = 64 * 2**20
MAX_TOTAL_BYTES = 512 * 2**20
MAX_SCRIPT_BYTES = MAX_TOTAL_BYTES - MAX_RUN_BYTES - MAX_MANIFEST_BYTES
"""What is left for scripts and their models beside the largest run."""
MAX_CELLS = 100_000

_MANIFEST, _RUN, _FILES = "manifest.json", "run.json", "files/"
_NAME = re.compile(r"[A-Za-z0-9_@+=,-][A-Za-z0-9._@+=, -]*(/[A-Za-z0-9_@+=,-][A-Za-z0-9._@+=, -]*)*")
_RUN_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_ZIP_MAGIC = b"PK\x03\x04"
_SMALL_CHUNK = 2**16
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""Time of every entry, so that the same run always gives the same bytes."""


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)


class _Manifest(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["bakeoff-run-bundle"] = "bakeoff-run-bundle"
    bundle_version: int = BUNDLE_VERSION
    schema_version: int
    files: dict[str, _Entry]


Record = TypeVar("Record", bound=BaseModel)


def export_bundle(run: Run, path: Path, extra_files: Mapping[str, Path] | None = None) -> None:
    """Write *run* and *extra_files* (by the name that each gets in the bundle) to the zip file *path*.

    The same contents always give the same bytes. Raises UserError if a file cannot be read or *path* not be written.
    """
    contents = {_RUN: run.model_dump_json(indent=1).encode()}
    try:
        for name, file in sorted((extra_files or {}).items()):
            if not _NAME.fullmatch(name):
                raise UserError(f"{name!r}: no name for a file in a bundle; use letters, digits, '._-' and '/'")
            contents[_FILES + name] = file.read_bytes()
        write_atomically(path, _packed(contents, run.schema_version))
    except OSError as error:
        raise UserError(
            f"{error.filename or path}: {error.strerror or error}; the bundle {path} was not written"
        ) from error


def import_bundle(path: Path) -> Run:
    """The run in the bundle *path*, or in *path* itself if that is a plain `run.json`. Nothing is written.

    Raises UserError, in one line, for a file that is no bundle, is damaged, was tampered with, is larger than a bundle
    may be, or holds a run of a schema that this bakeoff does not read.
    """
    with _in_words(path):
        with path.open("rb") as stream:
            if stream.read(len(_ZIP_MAGIC)) != _ZIP_MAGIC:
                return _parse_run(path, _read_plain(path))
        with _archive(path) as archive:
            manifest = _checked_manifest(path, archive)
            return _parse_run(path, _member(path, archive, _RUN, manifest.files[_RUN]))


def extract_files(path: Path, folder: Path) -> tuple[Path, ...]:
    """Write the bundle's other files (not the run) below *folder* and return their paths; none for a plain `run.json`.

    Every file is checked before the first is written. They come from whoever made the bundle: look before you run one.
    Raises UserError as `import_bundle` does, or if a file cannot be written.
    """
    with _in_words(path):
        with path.open("rb") as stream:
            if stream.read(len(_ZIP_MAGIC)) != _ZIP_MAGIC:
                return ()
        with _archive(path) as archive:
            manifest = _checked_manifest(path, archive)
            contents = {
                folder / name.removeprefix(_FILES): _member(path, archive, name, entry)
                for name, entry in manifest.files.items()
                if name != _RUN
            }
    try:
        for target, content in contents.items():
            write_atomically(target, content)
    except OSError as error:
        raise UserError(f"{error.filename or folder}: {error.strerror or error}; not all files are there") from error
    return tuple(contents)


def _packed(contents: Mapping[str, bytes], schema_version: int) -> bytes:
    entries = {
        name: _Entry(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data)) for name, data in contents.items()
    }
    manifest = _Manifest(schema_version=schema_version, files=entries).model_dump_json(indent=1).encode()
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in {_MANIFEST: manifest, **contents}.items():
            info = zipfile.ZipInfo(name, date_time=_EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, data)
    return buffer.getvalue()


@contextmanager
def _in_words(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}); check the path") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        _refuse(path, f"is a damaged or truncated zip file ({error})", "copy it again")


def _refuse(path: Path, reason: str, fix: str = "have it exported again with `bakeoff`") -> NoReturn:
    raise UserError(f"{path}: {' '.join(reason.split())}; {fix}")


def _archive(path: Path) -> zipfile.ZipFile:
    if path.stat().st_size > MAX_TOTAL_BYTES:
        _refuse(path, f"is larger than a bundle may be ({MAX_TOTAL_BYTES // 2**20} MB)")
    return zipfile.ZipFile(path)


def _read_plain(path: Path) -> bytes:
    with path.open("rb") as stream:
        data = stream.read(MAX_RUN_BYTES + 1)
    if len(data) > MAX_RUN_BYTES:
        _refuse(path, f"is larger than a run may be ({MAX_RUN_BYTES // 2**20} MB)")
    if not data.lstrip().startswith(b"{"):
        _refuse(path, "is neither a run bundle (zip) nor a run in JSON")
    return data


def _checked_manifest(path: Path, archive: zipfile.ZipFile) -> _Manifest:
    """The manifest, once the archive's directory agrees with it and with the bounds."""
    members = archive.infolist()
    names = [member.filename for member in members]
    if len(members) > MAX_FILES:
        _refuse(path, f"holds {len(members)} files (limit {MAX_FILES})")
    if _MANIFEST not in names or _RUN not in names:
        _refuse(path, f"is a zip file, but no run bundle: it lacks {_MANIFEST if _MANIFEST not in names else _RUN}")
    for member in members:
        _check_member(path, member)
    if sum(member.file_size for member in members) > MAX_TOTAL_BYTES:
        _refuse(path, f"would unpack to more than {MAX_TOTAL_BYTES // 2**20} MB")
    data = _bounded(path, archive, _MANIFEST, MAX_MANIFEST_BYTES)
    raw = _json(path, _MANIFEST, data)
    version = raw.get("bundle_version")
    if version != BUNDLE_VERSION:
        _refuse(path, f"has bundle version {version!r}, this bakeoff reads {BUNDLE_VERSION}", "upgrade bakeoff")
    manifest = _valid(path, _MANIFEST, _Manifest, raw)
    if len(set(names)) != len(names) or {_MANIFEST, *manifest.files} != set(names):
        _refuse(path, f"holds other files than its {_MANIFEST} lists")
    return manifest


def _check_member(path: Path, member: zipfile.ZipInfo) -> None:
    name = member.filename
    known = name in (_MANIFEST, _RUN) or (name.startswith(_FILES) and _NAME.fullmatch(name.removeprefix(_FILES)))
    kind = (member.external_attr >> 16) & 0o170000
    if not known or kind not in (0, 0o100000):
        _refuse(path, f"holds a file that a bundle cannot hold: {name[:100]!r}")
    if member.flag_bits & 0x1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        _refuse(path, f"{name[:100]} is encrypted or compressed in a way that bundles do not use")


def _member(path: Path, archive: zipfile.ZipFile, name: str, entry: _Entry) -> bytes:
    data = _bounded(path, archive, name, MAX_RUN_BYTES if name == _RUN else MAX_FILE_BYTES)
    if len(data) != entry.bytes or hashlib.sha256(data).hexdigest() != entry.sha256:
        _refuse(path, f"{name} is not what {_MANIFEST} says (sha256 differs)", "copy or export it again")
    return data


def _bounded(path: Path, archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    """Unpack a member piece by piece: the size that its directory states may be a lie."""
    parts: list[bytes] = []
    size = 0
    with archive.open(name) as stream:
        while part := stream.read(_SMALL_CHUNK):
            size += len(part)
            if size > limit:
                _refuse(path, f"{name} is larger than {limit // 2**20} MB when unpacked")
            parts.append(part)
    return b"".join(parts)


def _json(path: Path, name: str, data: bytes) -> dict[str, Any]:
    try:
        raw = from_json(data)
    except ValueError as error:
        _refuse(path, f"{name} is not valid JSON ({error})")
    if not isinstance(raw, dict):
        _refuse(path, f"{name} is not a JSON object")
    return raw


def _parse_run(path: Path, data: bytes) -> Run:
    raw = _json(path, _RUN, data)
    version = raw.get("schema_version")
    if not isinstance(version, int) or not 1 <= version <= SCHEMA_VERSION:
        fix = "upgrade bakeoff" if isinstance(version, int) and version > SCHEMA_VERSION else "export it again"
        _refuse(path, f"holds a run of schema {version!r:.40}, this bakeoff reads up to {SCHEMA_VERSION}", fix)
    run = _valid(path, _RUN, Run, raw)
    if not _RUN_ID.fullmatch(run.id):
        _refuse(path, f"run id {run.id[:100]!r} is none that bakeoff makes")
    if run.target_id != run.target.id:
        _refuse(path, "names another target than the one that it describes")
    if len(run.cells) > MAX_CELLS:
        _refuse(path, f"holds {len(run.cells)} cells (limit {MAX_CELLS})")
    if len({cell.key for cell in run.cells}) != len(run.cells):
        _refuse(path, "holds two cells with the same key")
    return run


def _valid(path: Path, name: str, kind: type[Record], raw: dict[str, Any]) -> Record:
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        _refuse(path, f"{name}: {where[:200]!a}: {first['msg'][:200]}")
