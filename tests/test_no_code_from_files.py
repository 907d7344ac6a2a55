"""Nothing in the package can turn the content of a file into code that runs."""

import ast
from pathlib import Path

import pytest

import nextrec_like

ROOT = Path(nextrec_like.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "imp", "runpy", "ctypes", "code"}
BUILTINS = {"eval", "exec", "compile", "__import__", "breakpoint"}
CALLS = {  # ends of dotted names
    "yaml.load",
    "yaml.load_all",
    "yaml.unsafe_load",
    "yaml.full_load",
    "torch.load",
    "torch.save",
    "torch.jit.load",
    "torch.package.PackageImporter",
    "torch.hub.load",
    "np.load",
    "numpy.load",
    "np.save",
    "np.savez",
    "pd.read_pickle",
    "pandas.read_pickle",
    "pd.read_hdf",
    "to_pickle",
    "os.system",
    "os.popen",
    "importlib.import_module",
    "import_module",
    "pa.deserialize",
}
SAFE = {"shell": False, "allow_pickle": False, "weights_only": True}
"""Arguments that have to be these, where they are given."""


def dotted(node):
    """``a.b.c`` of a name or attribute; the end of it where it begins with something else."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}".lstrip(".")
    return node.id if isinstance(node, ast.Name) else ""


def faults(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names if each.name.split(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{each.name}" for each in node.names]
            yield from (name for name in names if name.split(".")[0] in MODULES or name in CALLS)
        elif isinstance(node, ast.Name) and node.id in BUILTINS:
            yield node.id
        elif isinstance(node, ast.Attribute):
            name = dotted(node)
            yield from (call for call in CALLS if name == call or name.endswith(f".{call}"))
        elif isinstance(node, ast.keyword) and getattr(node.value, "value", None) is not SAFE.get(node.arg, node):
            yield from (name for name in SAFE if name == node.arg)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_code_comes_from_a_file(file):
    assert list(faults(ast.parse(file.read_text(encoding="utf-8")))) == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from joblib import load",
        "import os\nos.system('ls')",
        "from torch import load",
        "x = torch.load(file, weights_only=True)",
        "yaml.load(text, Loader)",
        "eval(text)",
        "f = exec",
        "import importlib\nimportlib.import_module(name)",
        "from importlib import import_module",
        "subprocess.run(command, shell=True)",
        "np.lib.format.read_array(file, allow_pickle=True)",
        "frame.to_pickle(file)",
        "__import__(name)",
    ],
)
def test_the_search_finds_what_it_should(code):
    assert list(faults(ast.parse(code)))


@pytest.mark.parametrize("code", ["model.compile()", "re.compile('x')", "model.eval()", "run(command, shell=False)"])
def test_the_search_leaves_alone_what_is_safe(code):
    assert not list(faults(ast.parse(code)))
