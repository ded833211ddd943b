"""Bundles carry a run whole, and nothing that somebody hides in one does any harm."""

from __future__ import annotations

import hashlib
import json
import runpy
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bakeoff.harness.cli.bundle import carried_files
from bakeoff.harness.store import Store, bundle, export_bundle, extract_files, import_bundle
from bakeoff.models.errors import UserError
from bakeoff.reports.results import CheckResult, Run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

_EXAMPLES = runpy.run_path(str(Path(__file__).with_name("store_examples.py")))  # test folders are no packages
make_run, make_cell = _EXAMPLES["make_run"], _EXAMPLES["make_cell"]


@pytest.fixture
def run() -> Run:
    """A run with cells, one of which has an infinite error."""
    check = CheckResult(reference="r", max_abs_error=float("inf"), max_rel_error=0.5, tolerance=0.1)
    cells = (make_cell("a"), make_cell("b").model_copy(update={"check": check, "status": "mismatch"}))
    return make_run("20261124-abc").model_copy(update={"cells": cells, "status": "finished"})


@pytest.fixture
def path(run: Run, tmp_path: Path) -> Path:
    """A good bundle with one script in it."""
    script = tmp_path / "script.py"
    script.write_text("print('reproduced')\n")
    export_bundle(run, tmp_path / "run.zip", {"reproducers/b.py": script})
    return tmp_path / "run.zip"


def test_places_that_cannot_be_written(run: Run, tmp_path: Path) -> None:
    """The reason is that of the path that was given, not of a folder or file that nobody asked for."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file: Not a directory; the bundle .*/file/x\.zip was not written"):
        export_bundle(run, tmp_path / "file" / "x.zip")
    with pytest.raises(UserError, match=r"^/proc: No such file or directory; the bundle /proc/x\.zip was not written"):
        export_bundle(run, Path("/proc/x.zip"))


def test_scripts_that_no_bundle_would_be_read_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A script with a model larger than `import` takes is left out whole, and named; the others are carried."""
    for name, size in (("a", 60), ("b", 101), ("c", 60), ("d", 40)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.onnx").write_bytes(bytes(size))
    monkeypatch.setattr(bundle, "MAX_FILE_BYTES", 100)
    monkeypatch.setattr(bundle, "MAX_SCRIPT_BYTES", 110)

    carried = list(carried_files([tmp_path / name for name in "abcd"]))

    assert ["a", "d"] == [path.parent.name for path in carried]
    said = capsys.readouterr().err.splitlines()
    assert [str(tmp_path / "b"), str(tmp_path / "c")] == [line.rpartition(": ")[2] for line in said]


def forge(path: Path, changes: dict[str, bytes | None], manifest: dict[str, Any] | None = None) -> None:
    """Replace (None: remove) files of the bundle and make its manifest agree, or be *manifest*."""
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    stated = json.loads(files.pop("manifest.json"))
    files = {name: data for name, data in {**files, **changes}.items() if data is not None}
    stated["files"] = {
        name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)} for name, data in files.items()
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", json.dumps({**stated, **(manifest or {})}))
        for name, data in files.items():
            archive.writestr(name, data)


def refused(path: Path) -> str:
    """The one line with which *path* is refused."""
    with pytest.raises(UserError) as caught:
        import_bundle(path)
    with pytest.raises(UserError):
        extract_files(path, path.parent / "out")
    assert not (path.parent / "out").exists()
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert 1 == len(message.splitlines())
    assert len(message) < 1000
    return message


class TestRoundTrip:
    def test_run_and_files(self, run: Run, path: Path, tmp_path: Path) -> None:
        """The run comes back exactly, the files with their contents."""
        assert run == import_bundle(path)
        (script,) = extract_files(path, tmp_path / "out")
        assert tmp_path / "out" / "reproducers" / "b.py" == script
        assert "print('reproduced')\n" == script.read_text()

    def test_same_run_same_bytes(self, run: Run, path: Path, tmp_path: Path) -> None:
        """Exporting twice gives the same file."""
        export_bundle(run, tmp_path / "again.zip", {"reproducers/b.py": tmp_path / "script.py"})

        assert path.read_bytes() == (tmp_path / "again.zip").read_bytes()

    def test_plain_json(self, run: Run, tmp_path: Path) -> None:
        """A run in JSON, as `show --json` prints it, is read too and has no files."""
        (tmp_path / "run.json").write_text(run.model_dump_json())

        assert run == import_bundle(tmp_path / "run.json")
        assert () == extract_files(tmp_path / "run.json", tmp_path / "out")

    def test_imported_twice(self, path: Path, tmp_path: Path) -> None:
        """The second import changes nothing."""
        store = Store.open(str(tmp_path / "s.sqlite3"))

        assert store.import_run(import_bundle(path))
        assert not store.import_run(import_bundle(path))
        assert import_bundle(path) == store.load_run("latest")
        assert 1 == len(store.list_runs())

    def test_cannot_be_written(self, run: Run, tmp_path: Path) -> None:
        """A place that cannot be written and a file that is not there are named; a bad name is refused."""
        (tmp_path / "file").write_text("")
        with pytest.raises(UserError, match="was not written"):
            export_bundle(run, tmp_path / "file" / "run.zip")
        with pytest.raises(UserError, match=r"gone\.py"):
            export_bundle(run, tmp_path / "run.zip", {"a.py": tmp_path / "gone.py"})
        with pytest.raises(UserError, match="no name for a file"):
            export_bundle(run, tmp_path / "run.zip", {"../a.py": tmp_path / "file"})
        assert not (tmp_path / "run.zip").exists()


class TestHostileZip:
    @pytest.mark.parametrize(
        "name",
        [
            "../evil.py",
            "files/../../evil.py",
            "/tmp/evil.py",
            "files//evil.py",
            "files/.hidden",
            "files/a\\..\\evil.py",
            "files/C:/evil.py",
            "files/folder/",
            "files/line\nbreak",
            "evil.py",
        ],
    )
    def test_names_that_lead_elsewhere(self, path: Path, name: str) -> None:
        """No name can lead out of the folder, be hidden, or hold other than plain letters."""
        forge(path, {name: b"import os"})

        assert "cannot hold" in refused(path)

    def test_link(self, path: Path) -> None:
        """A symbolic link is no file."""
        with zipfile.ZipFile(path, "a") as archive:
            link = zipfile.ZipInfo("files/link")
            link.external_attr = 0o120777 << 16
            archive.writestr(link, "/etc/passwd")

        assert "cannot hold: 'files/link'" in refused(path)

    def test_bomb_in_one_file(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A file that unpacks to more than the bound is refused though its packed size is small."""
        monkeypatch.setattr(bundle, "MAX_FILE_BYTES", 100_000)
        forge(path, {"files/zeros": bytes(200_000)})

        with pytest.raises(UserError, match="files/zeros is larger than"):
            extract_files(path, path.parent / "out")
        assert not (path.parent / "out").exists()

    def test_bomb_in_all_files(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """What all files say they unpack to is bounded before any is unpacked."""
        monkeypatch.setattr(bundle, "MAX_TOTAL_BYTES", 1_000_000)
        forge(path, {f"files/{i}": bytes(150_000) for i in range(7)})

        assert "would unpack to more than" in refused(path)

    def test_bomb_that_lies(self, path: Path) -> None:
        """A file whose directory states a smaller size than it has is refused."""
        forge(path, {"files/zeros": bytes(200_000)})
        content = path.read_bytes()
        true, stated = (200_000).to_bytes(4, "little"), (10).to_bytes(4, "little")
        assert content.count(true) >= 2
        path.write_bytes(content.replace(true, stated))

        with pytest.raises(UserError):
            extract_files(path, path.parent / "out")
        assert not (path.parent / "out").exists()

    def test_too_many_files(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The number of files is bounded."""
        monkeypatch.setattr(bundle, "MAX_FILES", 5)
        forge(path, {f"files/{i}": b"" for i in range(5)})

        assert "holds 8 files (limit 5)" in refused(path)

    def test_other_compression(self, path: Path) -> None:
        """Only the compression that bundles use is unpacked."""
        with zipfile.ZipFile(path, "a", zipfile.ZIP_LZMA) as archive:
            archive.writestr("files/x", b"x" * 1000)

        assert "compressed in a way" in refused(path)

    def test_same_name_twice(self, path: Path) -> None:
        """Two files of one name cannot stand for each other."""
        with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(path, "a") as archive:
            archive.writestr("run.json", b"{}")

        assert "other files than its manifest.json lists" in refused(path)

    def test_unlisted_file(self, path: Path) -> None:
        """A file that the manifest does not list is refused."""
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("files/extra.py", b"")

        assert "other files than its manifest.json lists" in refused(path)

    def test_changed_file(self, path: Path) -> None:
        """A file that is not the one that was exported is refused."""
        with zipfile.ZipFile(path) as archive:
            stated = json.loads(archive.read("manifest.json"))
        forge(path, {"run.json": make_run("other").model_dump_json().encode()}, {"files": stated["files"]})

        with pytest.raises(UserError, match=r"run\.json is not what manifest\.json says"):
            import_bundle(path)

    @pytest.mark.parametrize("missing", ["run.json", "manifest.json"])
    def test_other_zip_file(self, path: Path, missing: str) -> None:
        """A zip file of something else is called that."""
        with zipfile.ZipFile(path, "w") as archive:
            for name in {"run.json", "manifest.json"} - {missing}:
                archive.writestr(name, "{}")

        assert f"no run bundle: it lacks {missing}" in refused(path)

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data())
    def test_any_damage(self, path: Path, run: Run, data: st.DataObject) -> None:
        """Cut anywhere or with any byte changed, a bundle is refused in one line or is still the same run."""
        content = bytearray(path.read_bytes())
        place = data.draw(st.integers(0, len(content) - 1))
        if data.draw(st.booleans()):
            content[place] ^= data.draw(st.integers(1, 255))
        else:
            del content[place:]
        damaged = path.with_name("damaged.zip")
        damaged.write_bytes(content)

        try:
            outcome: object = import_bundle(damaged)
        except UserError as error:
            outcome = len(str(error).splitlines())
        assert outcome in (run, 1)


def changed(**changes: Any) -> Callable[[dict[str, Any]], object]:
    """A change of some top-level keys."""
    return lambda run: run.update(changes)


class TestHostileRun:
    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (changed(schema_version=2), "schema 2, this bakeoff reads up to 1; upgrade bakeoff"),
            (changed(schema_version="1"), "schema '1'"),
            (changed(schema_version=None), "schema None"),
            (changed(surprise=1), "run.json: 'surprise': Extra inputs are not permitted"),
            (changed(cells=[{"key": 1}]), "run.json: 'cells.0.key': Input should be a valid string"),
            (changed(id="../../etc"), "is none that bakeoff makes"),
            (changed(id="a\x1b[31m"), "is none that bakeoff makes"),
            (changed(target_id="another"), "another target"),
            (lambda run: run["cells"].append(run["cells"][0]), "two cells with the same key"),
            (lambda run: run["cells"][0].update({"\x1b]0;\n": 1}), r"'cells.0.\x1b]0;\n'"),
        ],
    )
    def test_contents(self, path: Path, run: Run, change: Callable[[dict[str, Any]], object], words: str) -> None:
        """What a run must not hold is refused by name, in a bundle as in plain JSON."""
        forged = json.loads(run.model_dump_json())
        change(forged)
        forge(path, {"run.json": json.dumps(forged).encode()})
        plain = path.with_name("run.json")
        plain.write_text(json.dumps(forged))

        for place in (path, plain):
            with pytest.raises(UserError) as caught:
                import_bundle(place)
            assert words in str(caught.value)
            assert str(caught.value).isprintable()

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b"", "neither a run bundle"),
            (b"[]", "neither a run bundle"),
            (b"\x80\x04pickle", "neither a run bundle"),
            (b'{"schema_version": 1', "run.json is not valid JSON"),
            (b"{" * 100_000, "run.json is not valid JSON"),
            (b'{"a":' * 100_000, "run.json is not valid JSON"),
            (b'{"a": ' + b"9" * 10_000 + b"}", "run.json"),
            (b"\xff\xfe{", "neither a run bundle"),
            (b'{"a": "\xff"}', "run.json is not valid JSON"),
        ],
    )
    def test_no_json(self, tmp_path: Path, content: bytes, words: str) -> None:
        """Whatever is no JSON is told in one line."""
        (tmp_path / "run.json").write_bytes(content)

        with pytest.raises(UserError) as caught:
            import_bundle(tmp_path / "run.json")

        assert words in str(caught.value)
        assert 1 == len(str(caught.value).splitlines())

    def test_too_large(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """No more of a file is read than a run may have."""
        monkeypatch.setattr(bundle, "MAX_RUN_BYTES", 1000)
        (tmp_path / "run.json").write_bytes(b"{" + b" " * 2000)

        with pytest.raises(UserError, match="larger than a run may be"):
            import_bundle(tmp_path / "run.json")

    @pytest.mark.parametrize("version", [2, "1", None])
    def test_bundle_version(self, path: Path, version: object) -> None:
        """A bundle of another version says which is read."""
        forge(path, {}, {"bundle_version": version})

        assert f"bundle version {version!r}, this bakeoff reads 1; upgrade" in refused(path)

    @pytest.mark.parametrize("extra", [{"surprise": 1}, {"files": {"run.json": {"sha256": "x", "bytes": 1}}}])
    def test_manifest(self, path: Path, extra: dict[str, Any]) -> None:
        """The manifest too is checked key by key."""
        forge(path, {}, extra)

        assert "manifest.json: " in refused(path)

    def test_no_file(self, tmp_path: Path) -> None:
        """A path that is not there, or a folder, is told."""
        for place in (tmp_path / "gone.zip", tmp_path):
            assert "cannot be read" in refused(place)


def test_crc_error_is_told(path: Path) -> None:
    """Data that does not fit its checksum is a damaged file, not a crash."""
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        crc = archive.getinfo("run.json").CRC.to_bytes(4, "little")
    path.write_bytes(content.replace(crc, b"\x01\x02\x03\x04"))

    with pytest.raises(UserError, match="damaged or truncated"):
        import_bundle(path)
