"""A suite says all that is wrong with it in one line: file, line, key, reason; a right one is read as it stands."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import bakeoff.harness
import jsonschema
import pytest
from bakeoff.harness.cli.schema import suite_schema
from bakeoff.harness.suite import BUILT_IN, Suite, load_suite, parse_suite
from bakeoff.harness.vocabulary import SCENARIOS
from bakeoff.models.errors import SuiteError, UnknownNameError, UserError
from hypothesis import given
from hypothesis import strategies as st

NO_STEP = "variant 'int9': no such step: 'int9'; see `bakeoff list variants`"
MATRIX = 'name = "s"\n[matrix]\nmodels = ["a"]\n'
"""The least that a suite needs; three lines."""

SCHEMA = jsonschema.Draft202012Validator(json.loads(suite_schema()))

BAD = {
    "unknown key at the top": ('nmae = "s"\n' + MATRIX, 1, "nmae", "unknown key"),
    "unknown table": (MATRIX + "[mesure]\nseed = 1\n", 4, "mesure", "unknown key"),
    "unknown key in matrix": (MATRIX + 'modells = ["a"]\n', 4, "matrix.modells", "unknown key"),
    "unknown key in measure": (MATRIX + "[measure]\nseed = 1\nsede = 1\n", 6, "measure.sede", "unknown key"),
    "unknown key of a model": (MATRIX + '[models.a]\nwieghts = "random"\n', 5, "models.a.wieghts", "unknown key"),
    "unknown key of a backend": (MATRIX + '[backends.tvm]\n\npyhton = "x"\n', 6, "backends.tvm.pyhton", "unknown key"),
    "unknown key in exclude": (
        MATRIX + '[[exclude]]\nmodel = "a"\n[[exclude]]\nmodell = "a"\n',
        7,
        "exclude[1].modell",
        "unknown key",
    ),
    "unknown key in include": (
        MATRIX
        + '[[include]]\nmodel = "a"\nbackend = "b"\n[[exclude]]\n[[include]]\nbackend = "c"\nx = 1\nmodel = "d"\n',
        10,
        "include[1].x",
        "unknown key",
    ),
    "unknown key in an inline array": (
        'name = "s"\nexclude = [{model = "a"}, {modell = "b"}]\n[matrix]\nmodels = ["a"]\n',
        2,
        "exclude[1].modell",
        "unknown key",
    ),
    "unknown dotted key": ('matrix.models = ["a"]\nname = "s"\nmatrix.modell = 3\n', 3, "matrix.modell", "unknown key"),
    "unknown key in an indented table": (
        MATRIX + "  [ measure ]  # here\n  sede = 1\n",
        5,
        "measure.sede",
        "unknown key",
    ),
    "key of a model with dots and brackets": (
        MATRIX + '[models."nets/my.[v2].onnx"]\nweights = 3\n[models.a]\nweights = "random"\n',
        5,
        "models.nets/my.[v2].onnx.weights",
        "string (got 3)",
    ),
    "wrong type of a name": (MATRIX + "[measure]\nimages = 3\n", 5, "measure.images", "string (got 3)"),
    "wrong type in a list": (
        'name = "s"\n[matrix]\nmodels = [\n  "a",\n  3,\n]\n',
        3,
        "matrix.models[1]",
        "string (got 3)",
    ),
    "a name in place of a list": ('name = "s"\n[matrix]\nmodels = "a"\n', 3, "matrix.models", "array (got 'a')"),
    "a text in place of a number": (MATRIX + 'batch = ["8"]\n', 4, "matrix.batch[0]", "integer (got '8')"),
    "a fraction in place of a number": (MATRIX + "batch = [1.5]\n", 4, "matrix.batch[0]", "integer"),
    "a truth value in place of a number": (MATRIX + "threads = [true]\n", 4, "matrix.threads[0]", "True is no whole"),
    "a date in place of a name": ('name = 2026-01-01\n[matrix]\nmodels = ["a"]\n', 1, "name", "string"),
    "a number in place of a table": ('name = "s"\nmatrix = 3\n', 2, "matrix", "object (got 3)"),
    "a table in place of an array": (MATRIX + '[exclude]\nmodel = "a"\n', 4, "exclude", "array"),
    "text of a backend's option": (
        MATRIX + "[backends.b.options]\nlevel = 3\n",
        5,
        "backends.b.options.level",
        "string",
    ),
    "threads in words": (MATRIX + 'threads = [1, "two"]\n', 4, "matrix.threads[1]", "'two' is no whole number from 1"),
    "no threads": (MATRIX + "threads = [0]\n", 4, "matrix.threads[0]", "0 is no whole number from 1 to 1024"),
    "too many threads": (
        MATRIX + "threads = [1025]\n",
        4,
        "matrix.threads[0]",
        "1025 is no whole number from 1 to 1024",
    ),
    "batch 0": (MATRIX + "batch = [1, 0]\n", 4, "matrix.batch[1]", "greater than or equal to 1 (got 0)"),
    "batch in include": (
        MATRIX + '[[include]]\nmodel = "a"\nbackend = "b"\nbatch = -3\n',
        7,
        "include[0].batch",
        "greater than or equal to 1 (got -3)",
    ),
    "unknown variant": (
        MATRIX + 'variants = ["int9"]\n',
        4,
        "matrix.variants",
        NO_STEP,
    ),
    "unknown scenario": (MATRIX + 'scenarios = ["x"]\n', 4, "matrix.scenarios", "no such scenario: 'x'; known: single"),
    "unknown variant in exclude": (
        MATRIX + '[[exclude]]\nvariant = "int9"\n',
        5,
        "exclude[0].variant",
        NO_STEP,
    ),
    "unknown scenario in include": (
        MATRIX + '[[include]]\nmodel = "a"\nbackend = "b"\nscenario = "x"\n',
        7,
        "include[0].scenario",
        "no such scenario: 'x'",
    ),
    "interval of nothing": (
        MATRIX + "[measure]\ntarget_interval = 0.0\n",
        5,
        "measure.target_interval",
        "greater than 0",
    ),
    "endless limit": (MATRIX + "[measure]\ncall_limit_s = inf\n", 5, "measure.call_limit_s", "finite number"),
    "limit that is no number": (MATRIX + "[measure]\ntime_limit_s = nan\n", 5, "measure.time_limit_s", "finite number"),
    "negative seed": (MATRIX + "[measure]\nseed = -1\n", 5, "measure.seed", "greater than or equal to 0"),
    "bad shape": (MATRIX + "[models.a.shapes]\nx = [1, -3]\n", 5, "models.a.shapes.x[1]", "equal to 1 (got -3)"),
    "empty list": ('name = "s"\n[matrix]\nmodels = []\n', 3, "matrix.models", "at least 1 item"),
    "no models": ('name = "s"\n[matrix]\nbatch = [1]\n', 2, "matrix.models", "Field required"),
    "no matrix": ('name = "s"\n', None, "matrix", "Field required"),
    "no name": ('[matrix]\nmodels = ["a"]\n', None, "name", "Field required"),
    "empty name": ('name = ""\n[matrix]\nmodels = ["a"]\n', 1, "name", "at least 1 character (got '')"),
    "include without a model": (MATRIX + '[[include]]\nbackend = "b"\n', 4, "include[0].model", "Field required"),
    "include without a backend": (
        MATRIX + '[[include]]\nmodel = "a"\nbackend = "b"\n\n[[include]]\nmodel = "a"\n',
        8,
        "include[1].backend",
        "Field required",
    ),
    "include of all backends": (
        MATRIX + '[[include]]\nmodel = "a"\nbackend = "all"\n',
        6,
        "include[0].backend",
        "name one backend",
    ),
    "no TOML: table": (MATRIX + "[measure\nseed = 1\n", 4, "TOML", "Expected ']'"),
    "no TOML: value": (MATRIX + "batch = [1\n[measure]\n", 5, "TOML", ""),
    "no TOML: a key twice": (MATRIX + 'models = ["b"]\n', 4, "TOML", "Cannot overwrite a value"),
    "no TOML: a number of many digits": ("x = " + 5000 * "9" + "\n", None, "TOML", "digits"),
    "no TOML: very deep": ("x = " + 50_000 * "[" + "\n", None, "TOML", "recursion"),
    "empty": ("", None, "name", "Field required"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_suites(case: str) -> None:
    """Each fault is told in one line that names file, line, key and what is wrong."""
    text, line, key, reason = BAD[case]
    with pytest.raises(SuiteError) as caught:
        parse_suite(text, "my.toml")
    words = str(caught.value)
    where = "my.toml" if line is None else f"my.toml:{line}"
    assert words.startswith(f"{where}: {key}: ")
    assert reason in words
    assert "\n" not in words


def test_line_numbers_with_odd_separators() -> None:
    """Characters that Python takes for the end of a line and TOML does not are not counted; CRLF is one end."""
    text = MATRIX.replace("\n", "\r\n") + "# \x85 \u2028 comment\r\n[measure]\r\nsede = 1\r\n"
    with pytest.raises(SuiteError, match=r"^my\.toml:6: measure\.sede"):
        parse_suite(text, "my.toml")


class TestLoading:
    @pytest.mark.parametrize("name", BUILT_IN)
    def test_built_in(self, name: str) -> None:
        """Every built-in suite is valid, bears its name and says what it is."""
        suite = load_suite(name)
        assert name == suite.name
        assert suite.description

    def test_quick(self) -> None:
        """The quick suite is the one that the README promises, and asks by name for every random weight."""
        suite = load_suite("quick")
        assert ("efficientnet_lite0", "mobilenet_v2", "resnet18", "shufflenet_v2_x1_0") == suite.matrix.models
        assert ("all",) == suite.matrix.backends
        assert (1, "all") == suite.matrix.threads
        assert {name: "random" for name in suite.matrix.models[1:]} == {
            name: settings.weights for name, settings in suite.models.items()
        }

    def test_file(self, tmp_path: Path) -> None:
        """A path is read as a TOML file, whatever its suffix if it exists."""
        path = tmp_path / "mine.suite"
        path.write_text(MATRIX)
        assert "s" == load_suite(str(path)).name

    def test_unknown_name(self) -> None:
        """A name that is neither built in nor a file is an unknown suite."""
        with pytest.raises(UnknownNameError, match=r"no such suite: 'quik'; did you mean quick\?"):
            load_suite("quik")

    def test_missing_file(self, tmp_path: Path) -> None:
        """A TOML file that is not there is called so."""
        with pytest.raises(UserError, match=r"gone\.toml: cannot be read \(No such file or directory\)"):
            load_suite(str(tmp_path / "gone.toml"))

    def test_folder(self, tmp_path: Path) -> None:
        """A folder is no suite."""
        with pytest.raises(UserError, match="cannot be read"):
            load_suite(str(tmp_path))

    def test_binary_file(self, tmp_path: Path) -> None:
        """A file that is no text is called so."""
        path = tmp_path / "model.toml"
        path.write_bytes(b"\x08\x07\xff\xfe")
        with pytest.raises(UserError, match="is not a text file"):
            load_suite(str(path))


class TestSchema:
    def test_shipped_schema_is_current(self) -> None:
        """The file in the package is what `bakeoff schema suite` prints; that command writes it anew."""
        shipped = Path(bakeoff.harness.__file__).parent / "schema" / "suite.schema.json"
        assert json.loads(suite_schema()) == json.loads(shipped.read_text("utf-8"))

    @pytest.mark.parametrize("name", BUILT_IN)
    def test_built_in_suites_fit(self, name: str) -> None:
        """An editor that checks against the schema finds no fault with a built-in suite."""
        path = Path(bakeoff.harness.__file__).parent / "suites" / f"{name}.toml"
        SCHEMA.validate(tomllib.loads(path.read_text("utf-8")))

    def test_schema_knows_the_keys(self) -> None:
        """An unknown key is a fault for the schema too."""
        with pytest.raises(jsonschema.ValidationError, match="modells"):
            SCHEMA.validate({"name": "s", "matrix": {"models": ["a"], "modells": []}})


# Letters that need quotes in keys and escapes in texts among them.
texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=12)
counts = st.integers(1, 1024)
threads = counts | st.just("all")
positive = st.floats(min_value=1e-6, max_value=1e6)


def _lists(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(values, min_size=1, max_size=3)


def _tables(**optional: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=optional)


pattern: dict[str, st.SearchStrategy[Any]] = {
    "variant": st.sampled_from(["fp32", "int8", "channel50+int8"]),
    "scenario": st.sampled_from(sorted(SCENARIOS)),
    "threads": threads,
    "batch": counts,
    "device": texts,
}
suites = st.fixed_dictionaries(
    {
        "name": texts,
        "matrix": st.fixed_dictionaries(
            {"models": _lists(texts)},
            optional={
                "backends": _lists(texts),
                "threads": _lists(threads),
                "batch": _lists(counts),
                "devices": _lists(texts),
            },
        ),
    },
    optional={
        "description": texts,
        "measure": _tables(time_limit_s=positive | counts, min_blocks=st.integers(2, 99), images=texts),
        "models": st.dictionaries(
            texts, _tables(weights=texts, shapes=st.dictionaries(texts, _lists(counts), max_size=2)), max_size=2
        ),
        "backends": st.dictionaries(
            texts, _tables(python=texts, options=st.dictionaries(texts, texts, max_size=2)), max_size=2
        ),
        "exclude": st.lists(_tables(model=texts, backend=texts, **pattern), max_size=2),
        "include": st.lists(
            st.fixed_dictionaries(
                {"model": texts, "backend": texts.filter(lambda name: name != "all")}, optional=pattern
            ),
            max_size=2,
        ),
    },
)


def _toml(value: object) -> str:
    """*value* as TOML, tables inline."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml(key)} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, str):
        return (
            '"'
            + "".join(
                f"\\U{ord(letter):08x}" if letter in '"\\' or not letter.isprintable() else letter for letter in value
            )
            + '"'
        )
    return repr(value)


@given(suites)
def test_valid_suites_are_read_as_they_stand(data: dict[str, Any]) -> None:
    """Every valid suite is taken, with each value that stands in it, and survives being dumped and read again."""
    suite = parse_suite("".join(f"{key} = {_toml(value)}\n" for key, value in data.items()), "my.toml")
    dumped = suite.model_dump(mode="json")
    for table in ("matrix", "measure"):
        for key, value in data.get(table, {}).items():
            assert value == dumped[table][key]
    assert data["name"] == suite.name
    assert set(data.get("models", {})) == set(suite.models)
    assert len(data.get("include", [])) == len(suite.include)
    assert suite == Suite.model_validate(dumped)
    SCHEMA.validate(data)
