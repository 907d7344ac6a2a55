"""The report as one HTML page that needs nothing else, and its Markdown twin."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from nextrec_like.comparison.report import tables, wording
from nextrec_like.comparison.report.answer import answers
from nextrec_like.comparison.report.content import Content
from nextrec_like.comparison.report.markdown import as_markdown
from nextrec_like.comparison.report.sections import MEASURES, all_sections, costs
from nextrec_like.comparison.results import Results
from nextrec_like.comparison.store import Store
from nextrec_like.printable import printable
from nextrec_like.storage.atomic import write_text

HERE = Path(__file__).parent
PAGE, TWIN = "report.html", "report.md"


def write_report(results: Results, store: Store, folder: Path) -> Path:
    """Writes ``report.html`` and ``report.md``.

    Evidence that is missing or damaged is named in the page; everything else is drawn.

    Args:
        results: What was found.
        store: Where the evidence of each run is.
        folder: Existing folder for both files; links to run folders are relative to it.

    Returns:
        The page.
    """
    content = Content(results, store)
    page = folder / PAGE
    write_text(page, _html(content, folder))
    write_text(folder / TWIN, as_markdown(content, folder))
    return page


def _html(content: Content, folder: Path) -> str:
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("template.html").render(
        content=content,
        results=content.results,
        answers=answers(content),
        troubles=tables.troubles(content),
        kinds=tables.kinds(content),
        rows=tables.rows(content),
        gains=tables.gains(content),
        settings=tables.settings(content),
        tried=tables.tried(content, folder),
        costs=list(zip(costs(content), content.numbers.values())),
        measures=MEASURES,
        runs=tables.runs(content, folder),
        facts=tables.facts(content),
        sections=all_sections(content),
        words=wording,
        style=Markup((HERE / "style.css").read_text(encoding="utf-8")),  # noqa: S704  both are files of this package
        script=Markup((HERE / "script.js").read_text(encoding="utf-8")),  # noqa: S704
    )


def _shown(value: object) -> object:
    """What a place in the page shows: of text, also characters that would turn the order of those around them."""
    return printable(value, keep="\n\t") if isinstance(value, str) and not isinstance(value, Markup) else value
