"""Figures as inline SVG: sizes are pixels of the page, colours follow its theme, output is repeatable."""

import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import StringIO
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from nextrec_like.comparison.report.wording import MINUS, short
from nextrec_like.printable import printable

SVG, XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
COLOURS = ("ink", "muted", "faint", "grid", "good", "bad", "unsure", "c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8")
PALETTE = {name: f"#0102{number:02x}" for number, name in enumerate(COLOURS)}
"""Stand-ins that matplotlib draws with; they become the style sheet's variables of the same names."""
_VARIABLES = {code: f"var(--{name})" for name, code in PALETTE.items()}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "report",
    "text.parse_math": False,
    "axes.formatter.useoffset": False,
    "axes.edgecolor": PALETTE["grid"],
    "axes.labelcolor": PALETTE["muted"],
    "text.color": PALETTE["ink"],
    "xtick.color": PALETTE["grid"],
    "ytick.color": PALETTE["grid"],
    "xtick.labelcolor": PALETTE["muted"],
    "ytick.labelcolor": PALETTE["muted"],
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "grid.color": PALETTE["grid"],
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.4,
    "lines.solid_capstyle": "round",
    "font.size": 10,
    "axes.labelsize": 10,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
}
_NUMBER = re.compile(r"-?\d+\.\d+")


@contextmanager
def drawing() -> Iterator[None]:
    """Within it, figures look as this page needs it, whatever the user's own matplotlib settings are."""
    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        # Text is drawn by the browser, which has the letters that the font used for measuring lacks.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from", category=UserWarning)
        yield


class Plot:
    """One small figure with a single pair of axes.

    Args:
        key: Unique on the page; letters, digits and dashes.
        title: What it shows, for those who cannot see it.
        size: Width and height in pixels.
        margins: Pixels left, right, above and below the axes.
    """

    def __init__(
        self, key: str, title: str, size: tuple[float, float], margins: tuple[float, float, float, float]
    ) -> None:
        self.key, self.title = key, title
        (width, height), (left, right, above, below) = size, margins
        self.figure = Figure(figsize=(width / 72, height / 72), dpi=72)
        self.figure.patch.set_visible(False)
        box = (left / width, below / height, 1 - (left + right) / width, 1 - (above + below) / height)
        self.axes: Axes = self.figure.add_axes(box)
        self.axes.patch.set_visible(False)
        self.axes.spines[["top", "right"]].set_visible(False)
        self.axes.set_axisbelow(True)
        self._tips: dict[str, str] = {}

    def tip(self, artists: Iterable[Any], text: str) -> None:
        """Text that appears when the pointer is over one of the artists."""
        gid = f"tip-{len(self._tips)}"
        for artist in artists:
            artist.set_gid(gid)
        self._tips[gid] = text

    def plain_ticks(self, axis: str, count: int, *, signed: bool = False, whole: bool = False) -> None:
        """At most `count` intervals between round numbers, or between whole ones."""
        chosen = self.axes.xaxis if axis == "x" else self.axes.yaxis
        chosen.set_major_locator(
            MaxNLocator(
                count,
                steps=[1, 2, 5, 10] if whole else [1, 2, 2.5, 5, 10],
                integer=whole,
                min_n_ticks=1 if whole else 2,
            )
        )
        chosen.set_major_formatter(FuncFormatter(lambda value, _: _tick(value, signed)))

    def logarithmic(self, axis: str, count: int) -> None:
        """A logarithmic axis with at most about `count` plain numbers."""
        chosen = self.axes.xaxis if axis == "x" else self.axes.yaxis
        self.axes.set(**{f"{axis}scale": "log"})
        low, high = self.axes.get_xlim() if axis == "x" else self.axes.get_ylim()
        steps = [1, 2, 5] if high / low < 10 ** (count / 3) else [1]
        chosen.set_major_locator(LogLocator(subs=steps, numticks=count + 1))
        chosen.set_major_formatter(FuncFormatter(lambda value, _: _tick(value, False)))
        chosen.set_minor_locator(NullLocator())

    def row_labels(self, labels: Iterable[str], width: int = 19) -> None:
        """One row per label from the top down, row 0 first."""
        shown = [short(label, width) for label in labels]
        self.axes.set_yticks(range(len(shown)), shown)
        self.axes.set_ylim(len(shown) - 0.4, -0.6)
        self.axes.spines["left"].set_visible(False)
        self.axes.tick_params(axis="y", labelcolor=PALETTE["ink"], pad=4)

    def svg(self) -> Markup:
        """The figure as an ``<svg>`` element that scales with its place."""
        text = StringIO()
        self.figure.savefig(text, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
        drawn = printable(text.getvalue(), keep="\n")  # XML has no control characters, and matplotlib writes them
        root = ElementTree.fromstring(drawn)  # noqa: S314  its structure is that of matplotlib
        for styles in root.findall(f"{SVG}defs"):
            for style in styles.findall(f"{SVG}style"):  # it would hold for the whole page
                styles.remove(style)
        used = {reference for element in root.iter() for reference in _references(element)}
        for element in root.iter():
            self._tidy(element, used)
        view = root.get("viewBox", "")
        root.attrib.clear()
        root.attrib.update({"class": "plot", "viewBox": view, "role": "img", "aria-label": printable(self.title)})
        # All text has been escaped by ElementTree.
        return Markup(re.sub(r"(?<=>)\s+(?=<)", "", ElementTree.tostring(root, encoding="unicode")))  # noqa: S704

    def _tidy(self, element: ElementTree.Element, used: set[str]) -> None:
        element.tag = element.tag.removeprefix(SVG)
        name = element.attrib.pop("id", "")
        if name in self._tips:
            title = ElementTree.Element("title")
            title.text = short(self._tips[name], 400)
            element.insert(0, title)
        elif name and name in used:
            element.set("id", f"{self.key}-{name}")
        reference = element.attrib.pop(f"{XLINK}href", None)
        for attribute, value in element.items():
            element.set(attribute, _short_value(value))
        if reference:
            element.set("href", f"#{self.key}-{reference[1:]}")
        if "clip-path" in element.attrib:
            element.set("clip-path", element.attrib["clip-path"].replace("url(#", f"url(#{self.key}-"))
        if element.get("transform", "").startswith("rotate(-0 "):
            del element.attrib["transform"]


def _references(element: ElementTree.Element) -> Iterator[str]:
    yield element.get(f"{XLINK}href", "").removeprefix("#")
    yield element.get("clip-path", "").removeprefix("url(#").removesuffix(")")


def _short_value(value: str) -> str:
    value = re.sub(r"font-family: [^;]*;? ?", "", value)
    value = re.sub(r"#0102[0-9a-f]{2}", lambda code: _VARIABLES.get(code[0], code[0]), value)
    value = _NUMBER.sub(_short_number, value)
    return re.sub(r"\s*\n\s*", "", re.sub(r"([MLCQz]) ", r"\1", value))


def _short_number(text: re.Match[str]) -> str:
    return f"{float(text[0]):.{1 if abs(float(text[0])) > 2 else 2}f}".rstrip("0").rstrip(".")


def _tick(value: float, signed: bool) -> str:
    text = f"{value:+.6g}" if signed and abs(value) > 1e-12 else f"{value:.6g}" if abs(value) > 1e-12 else "0"
    return text.replace("-", MINUS)


def span(values: Iterable[float | None], include: Iterable[float] = ()) -> tuple[float, float]:
    """Limits of an axis that show the bulk of the values: a variant that went astray does not hide the others.

    Args:
        values: What is drawn; None is left out.
        include: Values that must be seen.

    Returns:
        Low and high, with a little room; values more than five times the usual distance from the middle lie outside.
    """
    found = sorted(value for value in values if value is not None)
    if not found:
        return -1.0, 1.0
    middle = found[len(found) // 2]
    usual = sorted(abs(value - middle) for value in found)[int(0.7 * (len(found) - 1))]
    reach = 5 * usual or float("inf")
    kept = [*(value for value in found if abs(value - middle) <= reach), *include]
    room = 0.06 * (max(kept) - min(kept)) or 0.01 * abs(middle) or 1.0
    return min(kept) - room, max(kept) + room
