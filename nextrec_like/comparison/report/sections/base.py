"""A part of the report that is made of plots."""

from dataclasses import dataclass, field

from markupsafe import Markup


@dataclass(frozen=True)
class Picture:
    """One plot.

    Args:
        svg: The plot.
        caption: Its heading.
        note: What must be said beneath it.
        link: Number of the variant whose runs it shows; None if it shows several.
    """

    svg: Markup
    caption: str
    note: str = ""
    link: int | None = None


@dataclass(frozen=True)
class Entry:
    """What a colour or a number in the plots means."""

    text: str
    colour: str = ""
    mark: str = ""


@dataclass(frozen=True)
class Section:
    """Plots that answer one question.

    Args:
        key: Unique on the page; letters and dashes.
        title: Its heading.
        text: How to read it.
        pictures: The plots.
        legend: What its colours and numbers mean.
        missing: What could not be drawn, and why.
        small: Whether the plots are small ones, one per variant.
        closed: Whether the reader opens it first.
    """

    key: str
    title: str
    text: str
    pictures: list[Picture]
    legend: list[Entry] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    small: bool = False
    closed: bool = False
