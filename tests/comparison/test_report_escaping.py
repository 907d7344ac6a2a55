"""Names from data in the report: shown, and neither markup nor commands nor a change of direction."""

import csv
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from sample import make_sample

from nextrec_like.comparison.console import describe_comparison
from nextrec_like.comparison.report import write_report
from nextrec_like.comparison.results import read_results

TASK = "<script>alert(1)</script>&\"'"
STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
NAMES = (
    TASK,
    "esc\x1b[2J\x07\x00",
    "\u202egpj.exe\u2066",
    "![x](http://example.org) [y](javascript:alert(1))",
    "javascript:alert(1)//\"onmouseover='alert(1)' x=",
    "]]></title></text></svg><svg onload=alert(1)>",
    "# head\n- list\n\n| a | b |",
)


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """The results of a comparison whose tasks and methods have hostile names, and the folder of its report."""
    folder = tmp_path_factory.mktemp("out")
    results, store = make_sample(folder / "store", NAMES[:3], NAMES[3:], rows=200, steps=8, seeds=(0, 1))
    results = replace(results, name=TASK, notes=list(NAMES), config=TASK, provenance={"command": TASK, TASK: NAMES[1]})
    write_report(results, store, folder)
    results.save(folder)
    return results, folder


def test_the_page_has_no_element_or_attribute_from_a_name(hostile):
    page = Page((hostile[1] / "report.html").read_text(encoding="utf-8"))
    assert page.tags.count("script") == 1
    assert not {"img", "iframe", "object", "embed", "base", "form"} & {*page.tags}
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    addresses = [value for name, value in page.attributes if name in ("href", "src", "action", "xlink:href")]
    assert all(address.startswith(("#", "./", "data:,")) for address in addresses)
    assert page.text.count(TASK) > 5


def test_nothing_in_the_page_or_its_twin_steers_a_terminal_or_turns_text_around(hostile):
    for name in ("report.html", "report.md"):
        assert not STEERING.search((hostile[1] / name).read_text(encoding="utf-8"))


def test_the_twin_has_no_markup_from_a_name(hostile):
    twin = (hostile[1] / "report.md").read_text(encoding="utf-8")
    assert "<" not in twin
    links = re.findall(r"(?<!\\)\]\(([^)]*)", twin)
    assert all(link.startswith("./") for link in links)
    heads = [line for line in twin.splitlines() if line.startswith("#")]
    assert heads[0] == "# " + re.sub(r"([`*_\[\]#|])", r"\\\1", "&lt;script&gt;alert(1)&lt;/script&gt;&amp;\"'")
    assert all(line.startswith("## ") for line in heads[1:])
    assert "## head" not in twin


def test_the_table_of_the_console_is_one_line_per_variant(hostile):
    results, folder = hostile
    lines = describe_comparison(results, folder).split("\n")
    assert sum("# head" in line for line in lines) == len(results.outputs)
    assert not any(line.startswith("- list") for line in lines)


def test_data_for_programs_are_as_they_were(hostile):
    results, folder = hostile
    assert read_results(folder / "results.json") == results
    assert json.loads((folder / "results.json").read_text(encoding="utf-8"))["name"] == TASK
    with open(folder / "runs.csv", newline="", encoding="utf-8") as file:
        assert {row["variant"] for row in csv.DictReader(file)} == {run.variant for run in results.runs}
