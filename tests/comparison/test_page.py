"""The page in a real browser: sorting, filters, both colour schemes, no request and no error."""

import json
import re

import numpy as np
import pytest

from genjax.comparison.page import page
from genjax.comparison.plots import scatter_plot, scatter_plots
from genjax.comparison.table import Cell, Column, Entry, Table
from genjax.figures.images import save_picture

COLUMNS = (
    Column(name="frechet_distance", title="FD", group="quality", source="fd", higher_is_better=False),
    Column(name="throughput", title="speed", group="speed", source="speed", unit="samples/s", higher_is_better=True),
)
VALUES = {"vae": (30.0, 500.0), "gan": (4.0, 90_000.0), "<b>flow</b>": (None, 20.0), "floor: gaussian": (100.0, 7e6)}
TABLE = Table(
    columns=COLUMNS,
    entries=tuple(
        Entry(name=name, kind="floor" if "floor" in name else "model", model=name.title(), family=name[:3])
        for name in VALUES
    ),
    cells=tuple(
        Cell(entry=name, column=column.name, value=value, replicas=(value - 1, value + 1), commands=(f"print {name}",))
        if value is not None
        else Cell(entry=name, column=column.name, status="failed", reason="out of memory")
        for name, values in VALUES.items()
        for column, value in zip(COLUMNS, values, strict=True)
    ),
)


@pytest.fixture(scope="module")
def html(tmp_path_factory):
    picture = tmp_path_factory.mktemp("samples") / "vae.png"
    save_picture(picture, np.zeros((8, 8, 3), np.uint8))
    (verse := picture.with_name("verse.txt")).write_text("to be & not")
    return page(
        TABLE,
        title="Comparison on digits",
        protocol={"split": "test"},
        machine={"device": "cpu"},
        notes=("first note", "second note"),
        command="genjax compare a b",
        failures=["flow: out of memory"],
        plots=scatter_plots(TABLE),
        samples={"vae": picture, "verse": verse},
    )


def test_nothing_is_loaded_and_everything_is_escaped(html):
    assert not re.search(r'(src|href)="(?!data:|#)', html)
    assert "@import" not in html and "url(http" not in html
    assert "<b>flow</b>" not in html and "&lt;b&gt;flow&lt;/b&gt;" in html
    for text in ("first note", "second note", "to be &amp; not", "genjax compare a b", "print vae", "out of memory"):
        assert text in html
    assert re.search(r'title="seeds 29, 31[^"]*" data-value="30.0">30.0 ± 1.4<', html)


def test_plots_have_a_point_for_each_entry_with_both_values():
    plot = scatter_plot(TABLE, COLUMNS[1], COLUMNS[0])
    assert [name for name in ("vae", "gan", "flow", "gaussian") if f">{name}<" in plot] == ["vae", "gan", "gaussian"]
    assert "<title>FD against speed</title>" in plot
    assert "currentColor" in plot and "#010203" not in plot
    ids = re.findall(r'\bid="([^"]*)"', plot)
    assert ids and all(name.startswith("throughput-frechet_distance-") for name in ids)
    assert set(re.findall(r'(?:href="#|url\(#)([^")]*)', plot)) <= set(ids)
    without = Table(columns=COLUMNS, entries=TABLE.entries, cells=())
    assert scatter_plot(without, *COLUMNS) is None and scatter_plots(without) == []


@pytest.fixture(params=["light", "dark"])
def opened(browser, html, tmp_path, request):
    """Open the page in a colour scheme, and require that it makes no request and logs nothing."""
    (tmp_path / "report.html").write_text(html)
    tab, faults = browser.new_page(color_scheme=request.param), []
    tab.on("console", lambda message: faults.append(message.text))
    tab.on("pageerror", lambda error: faults.append(str(error)))
    tab.on("request", lambda each: None if each.url.startswith("data:") else faults.append(each.url))
    tab.goto(address := (tmp_path / "report.html").as_uri())
    tab.scheme = request.param
    yield tab
    assert faults == [address]
    tab.close()


def shown(tab):
    """Return the names of the rows in view."""
    return tab.evaluate("[...document.querySelectorAll('#table tbody tr:not([hidden]) th')].map(e => e.textContent)")


def test_it_sorts_and_filters_in_both_colour_schemes(opened):
    vae, gan, flow, floor = VALUES
    assert shown(opened) == [vae, gan, flow, floor]
    heading = opened.get_by_role("button", name="FD")
    heading.click()
    assert shown(opened) == [gan, vae, floor, flow]  # what has no value comes last
    heading.click()
    assert shown(opened) == [floor, vae, gan, flow]
    assert opened.locator("th[aria-sort='descending']").count() == 1
    opened.get_by_role("button", name="speed").click()  # the highest first, because it is the best
    assert shown(opened) == [floor, gan, vae, flow]
    opened.get_by_role("button", name="entry").press("Enter")
    assert shown(opened) == sorted(VALUES, key=lambda name: name.strip("<"))
    opened.get_by_label("floors").uncheck()
    assert floor not in shown(opened)
    opened.get_by_label("Filter").fill("VA")
    assert shown(opened) == [vae]
    assert opened.locator("#count").text_content() == "1 of 4 shown"


def test_it_is_readable_in_both_colour_schemes(opened):
    """Contrast of text, of numbers that failed, and of the axes of plots is at least 4.5 (WCAG 2.2)."""
    script = """selector => {
        const style = getComputedStyle(document.querySelector(selector));
        return [style.color, getComputedStyle(document.body).backgroundColor];
    }"""
    for selector in ("body", "#table td.failed", "#count", ".plots svg"):
        text, paper = (luminance(colour) for colour in opened.evaluate(script, selector))
        assert (max(text, paper) + 0.05) / (min(text, paper) + 0.05) >= 4.5, (selector, opened.scheme)
    assert (paper < 0.2) == (opened.scheme == "dark")
    sizes = opened.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert sizes[0] <= sizes[1], "the page scrolls sideways"


def luminance(colour):
    """Return the relative luminance of "rgb(r, g, b)"."""
    channels = np.array([int(value) for value in re.findall(r"\d+", colour)[:3]]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ np.array([0.2126, 0.7152, 0.0722]))


def test_the_page_of_a_comparison_opens(browser, compared):
    tab, faults = browser.new_page(), []
    tab.on("console", lambda message: faults.append(message.text))
    tab.goto((compared / "report.html").as_uri())
    content = json.loads((compared / "comparison.json").read_text())
    assert shown(tab) == [entry["name"] for entry in content["entries"]]
    assert tab.locator(".samples img").count() == 1 + len(content["entries"])
    assert tab.locator(".plots svg").count() == 2
    assert not faults
    tab.close()
