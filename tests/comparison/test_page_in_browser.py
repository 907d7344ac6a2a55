"""The report in a real browser, as a reader has it: from disk, without a network."""

import os
import shutil

import pytest
from sample import make_sample
from test_report import HOSTILE

from nextrec_like.comparison.report import write_report

CHROMIUM = shutil.which("chromium")
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
PHONE, DESK = {"width": 375, "height": 812}, {"width": 1280, "height": 900}
PLOTS = {
    "differences": 4,
    "tradeoff": 1,
    "weight": 6,
    "cosine": 4,
    "norm": 4,
    "loss": 2,
    "valid": 2,
    "calibration": 2,
    "gates": 2,
    "cost": 3,
}

try:
    from playwright.sync_api import sync_playwright
except ImportError:
    sync_playwright = None

MISSING = [name for name, found in (("chromium", CHROMIUM), ("playwright", sync_playwright)) if not found]
pytestmark = pytest.mark.skipif(
    bool(MISSING) and not os.environ.get("CI"), reason=f"{' and '.join(MISSING)} must be installed to open the page"
)


@pytest.fixture(scope="module")
def browser():
    assert not MISSING, f"{MISSING} must be installed in CI"
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    plain = write_report(*make_sample(folder / "plain", failed="pcgrad"), folder / "plain")
    hostile = make_sample(folder / "hostile", HOSTILE[:3], HOSTILE[3:], rows=300, steps=10, seeds=(0, 1))
    return {"plain": plain, "hostile": write_report(*hostile, folder / "hostile")}


@pytest.fixture
def visit(browser, pages):
    """Opens a page; at the end there must have been no error and no request but for the file."""
    opened, troubles, requests = [], [], []

    def open_page(name="plain", **options):
        page = browser.new_page(**{"viewport": DESK, **options})
        opened.append(page)
        page.on("console", lambda message: troubles.append(message.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(pages[name].as_uri())
        return page

    yield open_page
    for page in opened:
        page.close()
    assert troubles == []
    assert all(url.startswith(("file://", "data:")) for url in requests)


def open_all(page):
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")


def column(page, number):
    """Texts of the visible cells of a column of the first table."""
    return page.locator(f"#variants tbody tr:visible > :nth-child({number})").all_inner_texts()


def as_number(text):
    return float(text.split(" ")[0].replace("\N{MINUS SIGN}", "-"))


def test_every_plot_is_drawn(visit):
    page = visit()
    open_all(page)
    for section, count in PLOTS.items():
        plots = page.locator(f"#{section} svg.plot")
        assert plots.count() == count, section
        for plot in plots.all():
            box = plot.bounding_box()
            assert box["width"] > 100, section
            assert box["height"] > 40, section
            assert plot.locator("path, use").count() > 3, section
            assert plot.get_attribute("aria-label")


def test_the_answer_is_what_a_reader_sees_first(visit):
    page = visit()
    assert page.locator("#answer").bounding_box()["y"] < 300
    assert page.locator("#answer article").count() == 2
    assert page.locator("#troubles").inner_text().count("pcgrad, seed 4, failed") == 1


def test_a_click_on_a_heading_sorts_both_ways(visit):
    page = visit()
    page.select_option("[data-filter=o]", label="click")
    heading = page.locator("#variants th", has_text="Mean ± sd")
    assert heading.get_attribute("aria-sort") == "none"
    heading.locator("button").click()
    values = [as_number(text) for text in column(page, 4)]
    assert heading.get_attribute("aria-sort") == "ascending"
    assert len(values) == 7
    assert values == sorted(values)
    heading.locator("button").press("Enter")
    assert heading.get_attribute("aria-sort") == "descending"
    assert [as_number(text) for text in column(page, 4)] == sorted(values, reverse=True)


def test_rows_without_a_value_come_last_and_text_is_sorted_as_text(visit):
    page = visit()
    page.select_option("[data-filter=o]", label="click")
    for _ in range(2):
        page.locator("#variants th button", has_text="Difference").click()
        found = column(page, 5)
        assert found[-2:] == ["", ""]  # the reference and the floor
        assert all(found[:-2])
    page.locator("#variants th button", has_text="Verdict").click()
    assert page.locator("#variants th", has_text="Difference").get_attribute("aria-sort") == "none"
    verdicts = [text for text in column(page, 11) if text]
    assert verdicts == sorted(verdicts)


def test_filters_hide_and_show_rows(visit):
    page = visit()
    assert set(column(page, 2)) == {"click", "conversion"}
    assert set(column(page, 3)) == {"auc"}
    page.select_option("[data-filter=o]", label="conversion")
    assert set(column(page, 2)) == {"conversion"}
    page.select_option("[data-filter=m]", label="logloss")
    assert set(column(page, 3)) == {"logloss"}
    page.select_option("[data-filter=m]", label="all")
    assert set(column(page, 3)) == {"auc", "logloss", "pcoc"}
    page.select_option("[data-filter=m]", label="auc")
    differences = column(page, 5)
    page.select_option("[data-filter=k]", label="tuned fixed weights")
    assert column(page, 5) != differences
    page.select_option("[data-filter=o]", label="all")
    assert set(column(page, 2)) == {"click", "conversion"}


@pytest.mark.parametrize("name", ["plain", "hostile"])
def test_nothing_is_wider_than_a_phone(visit, name):
    page = visit(name, viewport=PHONE)
    open_all(page)
    assert page.evaluate("document.documentElement.scrollWidth") == 375
    scrolled = page.locator("#table .scroll").first
    assert scrolled.evaluate("(box) => box.scrollWidth > box.clientWidth")
    wide = """[...document.querySelectorAll('svg.plot, .answer, figure, .legend li, p, h1, h2')]
        .filter((each) => each.getBoundingClientRect().right > 376).map((each) => each.outerHTML.slice(0, 99))"""
    assert page.evaluate(wide) == []


def test_text_in_plots_stays_in_its_card(visit):
    for viewport in (PHONE, DESK):
        page = visit(viewport=viewport)
        open_all(page)
        outside = """[...document.querySelectorAll('svg.plot text')].filter((text) => {
            const card = text.closest('figure').getBoundingClientRect(), box = text.getBoundingClientRect();
            return box.left < card.left || box.right > card.right || box.top < card.top || box.bottom > card.bottom;
        }).map((text) => text.textContent)"""
        assert page.evaluate(outside) == []


def test_dark_and_light(visit):
    colours = {}
    for scheme in ("light", "dark"):
        page = visit(color_scheme=scheme)
        colour = "getComputedStyle(document.querySelector('{}')).{}"
        ground = page.evaluate(colour.format("body", "backgroundColor"))
        tick = page.evaluate(colour.format("#differences svg text", "fill"))
        colours[scheme] = (ground, tick)
        page.click("#theme")
        toggled = page.evaluate(colour.format("body", "backgroundColor"))
        assert toggled != ground
        page.click("#theme")
        assert page.evaluate(colour.format("body", "backgroundColor")) == ground
    assert colours["light"][0] != colours["dark"][0]
    assert colours["light"][1] != colours["dark"][1]


def test_paper_has_everything_and_no_controls(visit):
    page = visit(color_scheme="dark")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    for control in ("#theme", "nav", ".filters"):
        assert not page.locator(control).is_visible()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    assert page.locator("#weight svg.plot").first.is_visible()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("#weight details").get_attribute("open") is None


def test_a_variant_leads_to_its_runs(visit):
    page = visit()
    assert not page.locator("#runs table").is_visible()
    page.locator("#variants a", has_text="uncertainty").first.click()
    row = page.locator("#runs tr:target")
    assert row.is_visible()
    assert "uncertainty" in row.inner_text()
    assert row.locator("a").get_attribute("href").startswith("./runs/")


def test_hostile_names_are_shown_and_do_nothing(visit):
    page = visit("hostile")
    open_all(page)
    assert page.evaluate("window.hacked") is None
    assert HOSTILE[0] in page.locator("#answer").inner_text()
    options = page.locator("[data-filter=o] option").all_inner_texts()
    assert options[1] == HOSTILE[0]
    page.select_option("[data-filter=o]", index=2)
    assert len(set(column(page, 2))) == 1
    assert page.locator("svg.plot").count() > 30


def test_without_javascript_all_rows_are_there(visit):
    page = visit(java_script_enabled=False)
    rows = page.locator("#variants tbody tr")
    assert rows.count() == page.locator("#variants tbody tr:visible").count() > 50
