"""The report as Markdown: for a pull request, a document or a terminal."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nextrec_like.comparison.report import tables
from nextrec_like.comparison.report.answer import answers
from nextrec_like.comparison.report.content import Content
from nextrec_like.comparison.report.sections import MEASURES, costs
from nextrec_like.comparison.report.wording import (
    GAIN,
    MISSING,
    VERDICT,
    best_epoch,
    estimate,
    interval,
    number,
    p_value,
    percent,
    plain,
    ratio,
    seconds,
)
from nextrec_like.printable import printable


def as_markdown(content: Content, folder: Path) -> str:
    """The whole text.

    Args:
        content: The results.
        folder: Where the text will be; links to run folders are relative to it.
    """
    parts: list[Iterable[str]] = [
        [f"# {escape(content.results.name)}", _question(content)],
        _answer(content),
        _bullets("What to mind", tables.troubles(content)),
        _bullets("Notes", content.results.notes),
        _differences(content),
        _gains(content),
        _settings(content, folder),
        _cost(content),
        _provenance(content),
        _runs(content, folder),
    ]
    return "\n\n".join(block for part in parts for block in part if block) + "\n"


def escape(text: object) -> str:
    """Text in which no character has a meaning in Markdown or HTML, on one line."""
    plain = printable(" ".join(str(text).split())).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]#|$~])", r"\\\1", plain)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; cells are escaped by the caller, who may put links into them. Empty without rows."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    rule = f"|{'---|' * len(heads)}"
    return "\n".join([f"| {' | '.join(heads)} |", rule, *lines]) if lines else ""


def _question(content: Content) -> str:
    seeds = content.results.seeds
    rows = ", ".join(f"{escape(each.name)} {each.rows:,}" for each in content.results.outputs)
    return (
        f"Which of {len(content.variants)} ways to train is best on this data, and is the difference real? "
        f"{len(seeds)} {'seed' if len(seeds) == 1 else 'seeds'}; test rows: {rows}."
    )


def _answer(content: Content) -> Iterator[str]:
    yield "## Answer"
    for answer in answers(content):
        yield f"**{escape(answer.title)}**"
        lines = [f"- **{escape(each.head)}** {escape(each.text)}".rstrip() for each in answer.sentences]
        yield "\n".join([*lines, *(f"- {escape(remark)}" for remark in answer.remarks)])
    yield VERDICT


def _bullets(title: str, sentences: Sequence[str]) -> Iterator[str]:
    if sentences:
        yield f"## {title}"
        yield "\n".join(f"- {escape(each)}" for each in sentences)


def _differences(content: Content) -> Iterator[str]:
    kinds = tables.kinds(content)
    heads = (
        "#",
        "variant",
        "output",
        "metric",
        "mean ± sd",
        "difference",
        "95 % over seeds",
        "95 % of test rows",
        "adjusted p",
        "w/t/l",
        "verdict",
    )
    for position, kind in enumerate(kinds or [""]):
        yield f"## Compared with {kinds[kind]}" if kinds else "## Values"
        rows = [each for each in tables.rows(content) if each.against == kind and (each.difference or not position)]
        yield table(heads, [_difference(each) for each in rows])


def _difference(row: tables.Row) -> list[str]:
    cells = [
        str(row.number or ""),
        escape(row.variant),
        escape(row.output),
        row.metric,
        estimate(row.estimate.mean, row.estimate.deviation),
    ]
    each = row.difference
    if each is None:
        return [*cells, *[""] * 6]
    return [
        *cells,
        number(each.mean, True),
        interval(each.low, each.high),
        interval(each.rows_low, each.rows_high),
        p_value(each.adjusted_p).replace("<", "&lt;"),
        f"{each.wins}/{each.ties}/{each.losses}",
        escape(each.sentence or each.verdict),
    ]


def _gains(content: Content) -> Iterator[str]:
    found = tables.gains(content)
    if found:
        yield "## Multi-task gain delta-m"
        yield GAIN
        yield table(
            ("variant", "against", "metric", "gain", "95 % over seeds"),
            [
                (
                    escape(each.variant),
                    escape(each.reference),
                    each.metric,
                    percent(each.mean),
                    f"[{percent(each.low)}, {percent(each.high)}]" if each.low is not None else MISSING,
                )
                for _, each in found
            ],
        )


def _settings(content: Content, folder: Path) -> Iterator[str]:
    found = tables.tried(content, folder)
    if found:
        yield "## Settings tried on the validation rows"
        rows = [
            (
                escape(each.variant),
                escape(each.label),
                number(each.score),
                "chosen" if each.chosen else "",
                escape(each.reason or ""),
                " ".join(f"[{i}]({link})" for i, link in enumerate(each.links, start=1)),
            )
            for each in found
        ]
        yield table(("variant", "setting", "validation score", "", "reason", "runs"), rows)


def _cost(content: Content) -> Iterator[str]:
    yield "## Cost"
    heads = ["variant", *(head for measure in MEASURES for head in (measure.title, "relative to equal"))]
    rows = [
        [
            escape(each.variant),
            *(
                text
                for measure, value, times in zip(MEASURES, each.values, each.ratios)
                for text in (measure.text(value), ratio(times))
            ),
        ]
        for each in costs(content)
    ]
    yield table(heads, rows)


def _provenance(content: Content) -> Iterator[str]:
    if content.results.provenance:
        yield "## How it was made"
        yield "\n".join(line for name, value in tables.facts(content) for line in _fact(name, value, ""))


def _fact(name: str, value: Any, indent: str) -> Iterator[str]:  # noqa: ANN401
    if isinstance(value, Mapping):
        yield f"{indent}- {escape(name)}:"
        for key, inner in value.items():
            yield from _fact(str(key), inner, indent + "  ")
    else:
        yield f"{indent}- {escape(name)}: {escape(plain(value))}"


def _runs(content: Content, folder: Path) -> Iterator[str]:
    heads = ["variant", "seed", "run", "validation score", "best epoch", "wall time"]
    judged = [f"{escape(each.name)} {content.main_metrics[each.name]}" for each in content.judged]
    rows = []
    for each in tables.runs(content, folder):
        run = each.record
        where = (
            f"[{escape(Path(run.folder).name)}]({each.link})" if run.folder and each.link else escape(run.reason or "")
        )
        cells = [number(run.score), best_epoch(run.best_epoch, run.epochs), seconds(run.seconds)]
        rows.append([escape(run.variant), str(run.seed), where, *cells, *map(number, each.values)])
    if rows:
        yield "## Runs"
        yield table([*heads, *judged], rows)
