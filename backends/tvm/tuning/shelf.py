"""Where tuning records are found: the user's own, imported ones, and those that ship with bakeoff.

Databases lie in the artifact cache, one for each target (whose num-cores are the threads) and version of TVM, shared
by all models: a kernel that two models have in common is tuned once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

from ....models.errors import UserError
from .contract import Meta
from .pack import Pack, read_folder, read_pack, read_pack_meta
from .records import read_meta
from .targets import fits, vector_of

__all__ = ["Source", "database_folder", "databases", "find_sources", "shipped"]

_FOLDER = "tvm-tuning"
_META = "meta.json"
_NAMES = ("own", "imported", "shipped")
"""What places are called, the best first."""


def database_folder(cache: Path, meta: Meta) -> Path:
    """Where the user's own records for *meta* lie below *cache*; the folder may not exist yet."""
    return cache / _FOLDER / f"{meta.target_id}-tvm{meta.tvm}"


def databases(cache: Path) -> list[Path]:
    """All databases below *cache*, by name."""
    place = cache / _FOLDER
    return sorted(path.parent for path in place.glob(f"*/{_META}")) if place.is_dir() else []


def shipped() -> list[Path]:
    """The packs that come with bakeoff, named by suite, CPU and threads: "quick-x86-64-v3-1.json.gz"."""
    place = Path(str(files("bakeoff.backends.tvm"))) / "records"
    return sorted([*place.glob("*.json"), *place.glob("*.json.gz")])


@dataclass(frozen=True, kw_only=True)
class Source:
    """Records from one place."""

    name: str
    """ "own", "imported", "shipped", or the path that a user named."""
    pack: Pack

    @property
    def title(self) -> str:
        """The name with the target: "shipped (llvm-x86-64-v3-1)"."""
        return f"{self.name} ({self.pack.meta.target_id})"


def find_sources(named: str, meta: Meta, cache: Path, features: frozenset[str]) -> list[Source]:
    """Records for *meta* on a CPU with *features*, the best first: the user's own, then by how wide their vectors are,
    and where these are equal what was tuned for as many threads, own before imported and imported before shipped ones.

    Records of one thread fit any number of them. *named*: "" for all that fit, "none", or the path of a database or of
    an exported file. Imports tvm. Raises `UserError` for a path whose records do not fit here; elsewhere what does not
    fit is left out, and not read either.
    """
    if named == "none":
        return []
    if named:
        path = Path(named).expanduser()
        pack = read_folder(path) if path.is_dir() else read_pack(path)
        _refuse_unfit(path, pack.meta, meta, features)
        return [Source(name=named, pack=pack)]
    own = database_folder(cache, meta)
    found = [Source(name="own", pack=read_folder(own))] if (own / _META).is_file() else []
    single = database_folder(cache, replace(meta, target={**meta.target, "num-cores": 1}))
    places = [
        (read_meta(folder), "own" if folder == single else "imported", folder)
        for folder in databases(cache)
        if folder != own
    ]
    places += [(read_pack_meta(file), "shipped", file) for file in shipped()]
    fitting = [place for place in places if _same_use(place[0], meta) and fits(place[0].target, features)]
    for _, name, path in sorted(fitting, key=lambda place: _distance(place, meta)):
        found.append(Source(name=name, pack=read_folder(path) if path.is_dir() else read_pack(path)))
    return found


def _same_use(found: Meta, wanted: Meta) -> bool:
    return found.tvm == wanted.tvm and _serves_threads(found, wanted)


def _serves_threads(found: Meta, wanted: Meta) -> bool:
    """Records of one thread serve several: their outer loops are spread over them (`spread`)."""
    return found.target["num-cores"] in (1, wanted.target["num-cores"])


def _distance(place: tuple[Meta, str, Path], meta: Meta) -> tuple[int, int, bool, int, bool, str]:
    """Wide vectors before narrow ones; then what was tuned for as many threads; among equals what this user has, and
    then what is for this very CPU."""
    found, name, path = place
    vector = vector_of(found.target)
    threads = found.target["num-cores"] != meta.target["num-cores"]
    cpu = found.target.get("mcpu") != meta.target.get("mcpu")
    return -vector.lanes, -vector.registers, threads, _NAMES.index(name), cpu, path.name


def _refuse_unfit(path: Path, found: Meta, wanted: Meta, features: frozenset[str]) -> None:
    if found.tvm != wanted.tvm:
        raise UserError(
            f"{path}: was tuned with TVM {found.tvm}, this is {wanted.tvm}; tune anew or give other records"
        )
    if not _serves_threads(found, wanted):
        raise UserError(
            f"{path}: was tuned for {found.target['num-cores']} threads, not for {wanted.target['num-cores']}; "
            "give other records"
        )
    if not fits(found.target, features):
        raise UserError(
            f"{path}: was tuned for {found.target_id}, whose instructions this CPU lacks; give other records"
        )
