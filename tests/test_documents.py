"""Everything that README and docs show is executed: Python, YAML, shell commands, examples, links, tables.

* Python blocks of a page run top to bottom in one namespace. Tables of more than 5,000 synthetic rows become 4,000.
* A text block after a line `Output:` is what the Python block before it prints.
* YAML blocks load: whole configurations as they are, fragments merged into `configs/quickstart.yaml`.
* Shell blocks run line by line, on few rows; a command that is not known here fails.
"""

import contextlib
import dataclasses
import doctest
import importlib
import inspect
import io
import re
import runpy
import shlex
import shutil
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from rows import ROWS

import nextrec_like
from nextrec_like import IdColumn, NumericColumn, SequenceColumn, Task, synthetic_funnel
from nextrec_like.cli import main
from nextrec_like.config import load_config
from nextrec_like.config.comparison import ComparisonSection, Floor, TunedFixed
from nextrec_like.config.document import read_document
from nextrec_like.config.schema import Config, DataSection, RawFeatures, Split, SyntheticFunnel, Training
from nextrec_like.metrics import METRICS
from nextrec_like.models import MODELS
from nextrec_like.objectives import LOSSES, OBJECTIVES
from nextrec_like.weighting import WEIGHTINGS, BalancerOptions

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
METHOD_PAGES = sorted(DOCS.glob("weighting_*.md"))
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
EXAMPLE_ARGUMENTS = {"02_entire_space.py": ["--rows", "6000", "--seeds", "0"]}
LANGUAGES = {"python", "yaml", "bash", "console", "text", "diff"}
QUICK = ["training.epochs=1", "training.batch_size=128", "training.device=cpu"]
QUICK_COMPARISON = ["comparison.seeds=[0]", "comparison.weightings=[dwa]", "comparison.tuned_fixed={trials: 1}"]
NOT_RUN = (  # sets up the machine, or runs these very tests
    r"pip install -c constraints\.txt -e \S+",
    r"git clone \S+",
    r"cd \S+",
    r"python3? -m venv \S+",
    r"(source|\.) \S+/bin/activate",
    r"pytest( tests\S*)?",
)


@dataclasses.dataclass(frozen=True)
class Block:
    language: str
    text: str
    line: int  # of its first line, counted from 1
    before: str  # the last line above it that is not blank


def blocks(page):
    content = page.read_text(encoding="utf-8")
    found = []
    for match in re.finditer(r"^```(.*)\n((?:(?!```).*\n)*)```$", content, re.MULTILINE):
        above = content[: match.start()].rstrip().splitlines()
        line = content.count("\n", 0, match.start(2)) + 1
        found.append(Block(match[1], match[2], line, above[-1] if above else ""))
    return found


def prose(*pages):
    content = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    return re.sub(r"^```.*?^```$", "", content, flags=re.MULTILINE | re.DOTALL)


def with_few_rows(code):
    """200,000 synthetic rows are for readers; 4,000 show as well that the code runs."""

    def fewer(match):
        return match[0] if int(match[1].replace("_", "")) <= 5_000 else "synthetic_funnel(4_000"

    return re.sub(r"synthetic_funnel\((\d[\d_]*)", fewer, code)


def each_page(*languages):
    pages = [page for page in PAGES if any(block.language in languages for block in blocks(page))]
    return pytest.mark.parametrize("page", pages, ids=lambda page: page.stem)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_fences_are_closed_and_say_a_known_language(page):
    found = blocks(page)

    assert 2 * len(found) == page.read_text(encoding="utf-8").count("```")
    assert {block.language for block in found} <= LANGUAGES


@each_page("python")
def test_python_runs_and_prints_what_the_page_shows(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    space, printed = {"__name__": "__main__"}, ""

    for block in blocks(page):
        if block.language == "python":
            code = "\n" * (block.line - 1) + with_few_rows(block.text)  # so that a traceback has the line of the page
            with contextlib.redirect_stdout(io.StringIO()) as output:
                exec(compile(code, str(page), "exec"), space)
            printed = output.getvalue()
        elif block.before == "Output:":
            assert printed == block.text, f"{page.name}:{block.line}"


@each_page("yaml")
def test_yaml_loads(page, tmp_path):
    quickstart = read_document(ROOT / "configs" / "quickstart.yaml").data
    for block in blocks(page):
        if block.language == "yaml":
            (tmp_path / "part.yaml").write_text(block.text, encoding="utf-8")
            content = read_document(tmp_path / "part.yaml").data
            if not {"data", "tasks"} <= set(content):
                (tmp_path / "part.yaml").write_text(yaml.safe_dump({**quickstart, **content}), encoding="utf-8")
            load_config(tmp_path / "part.yaml")


@each_page("bash", "console")
def test_shell_commands_work(page, workplace):
    for block in blocks(page):
        if block.language in ("bash", "console"):
            for command in commands(block):
                run_command(command)


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A copy of the configurations, and small tables where the real ones would be."""
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    for dataset, rows in ROWS.items():
        folder = tmp_path / "datasets" / dataset
        folder.mkdir(parents=True)
        for number, part in enumerate(("train", "valid", "test")):
            rows(800, seed=number).to_parquet(folder / f"{part}.parquet")
    monkeypatch.chdir(tmp_path)


def commands(block):
    """Single commands; in a console block, the lines that begin with a dollar sign."""
    lines = block.text.replace("\\\n", " ").splitlines()
    if block.language == "console":
        lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    words = [re.sub(r"\s#.*", "", line).strip() for line in lines if not line.startswith("#")]
    return [part.strip() for line in words if line for part in line.split("&&")]


def run_command(command):
    words = shlex.split(re.sub(r"^(\w+=\S+ )+", "", command))
    if words[:3] == ["python", "-m", "nextrec_like"]:
        words = ["nextrec-like", *words[3:]]
    if words[0] == "nextrec-like":
        assert main(with_few_epochs(words[1:])) == 0, command
    elif words[0] == "python" and re.match(r"(datasets|docs|tests/benchmarks|examples)/", words[1]):
        check_script(ROOT / words[1], words[2:])
    else:
        assert any(re.fullmatch(pattern, command) for pattern in NOT_RUN), f"`{command}` is not run by any test"


def with_few_epochs(arguments):
    """The arguments, on few rows; a file to predict that is not there is made."""
    for option, value in pairwise(arguments):
        if option == "--data" and not Path(value).exists():
            synthetic_funnel(300, seed=9).to_parquet(value)
    if arguments[0] not in ("train", "compare"):
        return arguments
    uses_funnel = "synthetic_funnel" in read_document(Path(arguments[1])).data["data"]
    few = [*QUICK, "data.synthetic_funnel.rows=2000"] if uses_funnel else QUICK
    few = [*few, *QUICK_COMPARISON] if arguments[0] == "compare" else few
    return [*arguments, *(word for text in few for word in ("--set", text))]


def check_script(script, arguments):
    assert script.is_file(), script
    text = script.read_text(encoding="utf-8")
    if "ArgumentParser" not in text and "parser_of" not in text:
        assert not arguments, f"{script.name} takes no arguments"
        return
    text = run_script(script, ["--help"])
    for word in arguments:
        assert not word.startswith("-") or word in text, f"{script.name} has no option {word}"


def run_script(script, arguments):
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as output:
        patch.setattr(sys, "argv", [str(script), *arguments])
        patch.syspath_prepend(script.parent)
        with contextlib.suppress(SystemExit) if "--help" in arguments else contextlib.nullcontext():
            runpy.run_path(str(script), run_name="__main__")
    return output.getvalue()


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.stem)
def test_example_runs(example, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    copy = tmp_path / example.name
    copy.write_text(with_few_rows(example.read_text(encoding="utf-8")), encoding="utf-8")

    assert run_script(copy, EXAMPLE_ARGUMENTS.get(example.name, []))


def anchors(page):
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"https?://", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name} links to {link}, which does not exist"
        assert not anchor or anchor in anchors(target), f"{page.name} links to {link}, which has no such heading"


@pytest.mark.parametrize(
    ("name", "page", "registry"),
    [
        ("MODELS", "models", MODELS),
        ("OBJECTIVES", "objectives", OBJECTIVES),
        ("LOSSES", "objectives", LOSSES),
        ("METRICS", "objectives", METRICS),
        ("WEIGHTINGS", "weighting", WEIGHTINGS),
    ],
)
def test_every_registered_name_has_a_row(name, page, registry):
    rows = re.findall(r"^\| `(\w+)`", prose(DOCS / f"{page}.md"), re.MULTILINE)

    assert set(registry) <= set(rows), f"{name} is not complete in docs/{page}.md"


@pytest.mark.parametrize("name", [*MODELS, *WEIGHTINGS])
def test_options_are_in_the_docs_with_their_defaults(name):
    kind = MODELS.get(name) or WEIGHTINGS[name]
    pages = prose(*([DOCS / "models.md"] if name in MODELS else METHOD_PAGES))
    common = {"self", "dense_features", "sparse_features", "sequence_features", "target", "task", "processor"}
    for option, parameter in inspect.signature(kind.__init__).parameters.items():
        if option not in common:
            default = parameter.default
            shown = f"`{option}`" if default is parameter.empty else f"`{option}={written(default)}`"
            assert shown in pages, f"{shown} of {name}"


@pytest.mark.parametrize("name", BalancerOptions.__dataclass_fields__)
def test_options_of_all_methods_are_in_the_docs_with_their_defaults(name):
    default = BalancerOptions.__dataclass_fields__[name].default

    assert f"`{name}={default!r}`" in prose(DOCS / "weighting.md")


def test_pages_of_the_methods_are_up_to_date():
    assert runpy.run_path(str(DOCS / "weighting_pages.py"))["problems"]() == []


def test_stale_pages_and_methods_without_a_section_are_found(tmp_path):
    script = Path(shutil.copy(DOCS / "weighting_pages.py", tmp_path))
    for page in METHOD_PAGES:
        shutil.copy(page, tmp_path)
    norms, gramian = tmp_path / "weighting_norms.md", tmp_path / "weighting_gramian.md"
    norms.write_text(norms.read_text(encoding="utf-8").replace("`alpha=1.5`", "`alpha=2.5`"), encoding="utf-8")
    problems = runpy.run_path(str(script))["problems"]
    assert problems() == ["weighting_norms.md is not up to date; run `python docs/weighting_pages.py`"]

    gramian.write_text(
        gramian.read_text(encoding="utf-8").replace("generated: mgda", "generated: mgdb"), encoding="utf-8"
    )
    assert [problem for problem in problems() if "mgda" in problem and "mgdb" in problem]


@pytest.mark.parametrize("page", METHOD_PAGES, ids=lambda page: page.stem)
def test_every_method_says_when_and_at_what_cost(page):
    for section in page.read_text(encoding="utf-8").split("\n## ")[1:]:
        words = [line.partition(":")[0] for line in section.partition("<!-- end -->")[2].splitlines()]
        assert {"When", "Cost"} <= set(words), section.partition("\n")[0]


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_row_of_a_method_has_its_page_and_what_it_needs(name):
    family = WEIGHTINGS[name].needs
    (row,) = re.findall(rf"^\| `{name}` \|(.*)\|$", prose(DOCS / "weighting.md"), re.MULTILINE)
    page, needs, *properties = [cell.strip() for cell in row.split(" | ")]

    assert f"(weighting_{family}.md#" in page
    assert needs == family
    assert len(properties) == 4


def written(default):
    return str({"dims": list(default.dims)}) if hasattr(default, "dims") else repr(default)


def test_every_key_of_a_configuration_is_described():
    page = (DOCS / "configuration.md").read_text(encoding="utf-8")
    sections = [Config, DataSection, SyntheticFunnel, Split, RawFeatures, Training]
    keys = {key for section in sections for key in section.model_fields}
    keys |= {
        field.name for kind in (NumericColumn, IdColumn, SequenceColumn, Task) for field in dataclasses.fields(kind)
    }

    missing = [key for key in sorted(keys) if not re.search(rf"\b{key}\b", page)]

    assert not missing


@pytest.mark.parametrize("section", [ComparisonSection, TunedFixed, Floor], ids=lambda section: section.__name__)
def test_every_key_of_a_comparison_is_described(section):
    page = (DOCS / "comparison.md").read_text(encoding="utf-8")

    assert not [key for key in section.model_fields if not re.search(rf"\b{key}\b", page)]


@pytest.mark.parametrize("name", nextrec_like.__all__)
def test_public_name_is_described(name):
    value = getattr(nextrec_like, name)
    if callable(value):
        text = value.__doc__ or ""
        assert text.strip(), f"{name} has no docstring"
        assert not text.startswith(f"{name}("), f"{name} has only the docstring that dataclass makes"
    assert any(re.search(rf"\b{name}\b", page.read_text(encoding="utf-8")) for page in PAGES)


def test_examples_in_docstrings_run():
    for file in sorted((ROOT / "nextrec_like").rglob("*.py")):
        if ">>>" in file.read_text(encoding="utf-8"):
            name = ".".join(file.relative_to(ROOT).with_suffix("").parts)
            assert doctest.testmod(importlib.import_module(name)).failed == 0, name
