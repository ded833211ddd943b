"""Guards over the whole tree: what is packaged, what is exported, what is imported."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = ("models", "backends", "reports", "harness")
MODULES = sorted(path for floor in FLOORS for path in (ROOT / floor).rglob("*.py"))


def _project() -> dict[str, object]:
    found: dict[str, object] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    return found


def test_every_package_is_in_the_wheel() -> None:
    """The hand-written list of packages is that of the folders with an `__init__.py`: others would be left out."""
    folders = {path.parent.relative_to(ROOT) for path in MODULES if path.name == "__init__.py"}
    expected = {"bakeoff", *(".".join(("bakeoff", *folder.parts)) for folder in folders)}
    assert expected == set(_project()["tool"]["setuptools"]["packages"])  # type: ignore[index]


def test_every_data_file_is_in_the_wheel() -> None:
    """Templates, schemas and suites are matched by a pattern of `package-data`."""
    patterns = _project()["tool"]["setuptools"]["package-data"]  # type: ignore[index]
    shipped = {
        file
        for package, globs in patterns.items()
        for glob in globs
        for file in ROOT.joinpath(*package.split(".")[1:]).glob(glob)
    }
    data = {
        file
        for floor in FLOORS
        for file in (ROOT / floor).rglob("*")
        if file.is_file() and file.suffix not in (".py", ".pyc")
    }
    assert data <= shipped


def test_the_version_is_said_once_and_the_same() -> None:
    """The package and its metadata agree."""
    from bakeoff import __version__

    assert __version__ == _project()["project"]["version"]  # type: ignore[index]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_exports_are_complete(path: Path) -> None:
    """Each module has a docstring and an `__all__` of names that it defines or imports."""
    tree = ast.parse(path.read_text("utf-8"))
    assert ast.get_docstring(tree)
    if path.name == "env.py" or path.parent.name == "versions":
        return  # alembic's own conventions
    listed = [ast.literal_eval(node.value) for node in tree.body if _assigns(node, "__all__")]
    assert listed, "no __all__"
    names = list(listed[0])
    assert len(set(names)) == len(names)
    defined = {name for node in tree.body for name in _defines(node)}
    assert set(names) <= defined
    classes = {node.name for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")}
    assert classes <= set(names)


def _assigns(node: ast.stmt, name: str) -> bool:
    target = (
        node.targets[0] if isinstance(node, ast.Assign) else node.target if isinstance(node, ast.AnnAssign) else None
    )
    return isinstance(target, ast.Name) and target.id == name


def _defines(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {alias.asname or alias.name for alias in node.names}
    if isinstance(node, ast.Assign):
        return {target.id for target in node.targets if isinstance(target, ast.Name)}
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return {node.target.id}
    return set()
