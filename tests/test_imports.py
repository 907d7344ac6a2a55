"""Imports point one way, lie at the top of a file, and nothing prints."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import nextrec_like
from nextrec_like.models import MODELS

ROOT = Path(nextrec_like.__file__).parent
CORE = {"errors", "memory", "printable", "batch", "features", "tasks"}
ALLOWED = {  # part of the package -> parts that it may import
    **dict.fromkeys(CORE, CORE),
    "storage": {"errors", "storage"},
    "distributed": {*CORE, "distributed"},
    "data": {*CORE, "data", "storage"},
    **{part: {*CORE, part} for part in ("layers", "objectives")},
    "models": {*CORE, "models", "layers", "data", "training"},
    "weighting": {"errors", "weighting", "distributed"},
    "metrics": {"errors", "metrics"},
    "training": {*CORE, "training", "data", "layers", "objectives", "weighting", "metrics", "optim", "sharded"}
    | {"storage", "distributed"},
    "sharded": {*CORE, "sharded", "layers", "optim", "storage", "distributed"},
}
THIRD_PARTIES = {"weighting": {"torch", "numpy"}, "metrics": {"numpy"}}
FILES = sorted(ROOT.rglob("*.py"))


def part_of(file):
    return file.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_point_one_way(file):
    part = part_of(file)
    for module in imported(ast.parse(file.read_text())):
        top, *rest = module.split(".")
        if top == "nextrec_like":
            known = rest[0] if rest else "the package itself"
            assert known in ALLOWED.get(part, {known}), f"{part} imports {module}"
        elif part in THIRD_PARTIES:
            assert top in THIRD_PARTIES[part] | set(sys.stdlib_module_names), f"{part} imports {module}"


IMPORTS_AN_EXTRA = {"run_compare", "load_engine"}
"""Functions that import what only their own command needs, and say how to install it."""


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_functions_neither_import_nor_print(file):
    for node in ast.walk(ast.parse(file.read_text())):
        if (
            isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            and node.name not in IMPORTS_AN_EXTRA
        ):
            inner = [type(child) for child in ast.walk(node)]
            assert ast.Import not in inner, f"{node.name} imports"
            assert ast.ImportFrom not in inner, f"{node.name} imports"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print", f"line {node.lineno} prints"


def test_training_names_no_model():
    classes = {model.__name__ for model in MODELS.values()}
    for file in (ROOT / "training").rglob("*.py"):
        names = {node.id for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Name)}
        assert not names & classes, file


def test_import_leaves_the_compiler_alone():
    code = "import sys, nextrec_like; print([name for name in sys.modules if name.startswith('torch._dynamo')])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
