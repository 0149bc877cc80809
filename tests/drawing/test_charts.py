"""Charts as SVG: places by hand, colours that a page may change, well-formed whatever the text, the same bytes."""

import re
import xml.etree.ElementTree as ET

import cv2
import matplotlib as mpl
import numpy as np
import pytest

from pneumoseg.drawing import plotting
from pneumoseg.drawing.charts import Interval, Series, difference_chart, interval_chart, line_chart
from pneumoseg.drawing.plotting import BLUE, DPI, blank_figure, inline, new_figure, palette_css, save

HOSTILE = "<script>alert('x')</script>&\" $x$"
NUMBERS = re.compile(r"-?[0-9.]+")


def parse(markup):
    return ET.fromstring(str(markup))  # noqa: S314 - our own markup


def elements(markup, tag, **attributes):
    found = parse(markup).findall(f".//{{*}}{tag}")
    return [item for item in found if all(text in item.get(name, "") for name, text in attributes.items())]


def lines(markup, colour):
    """(n, 2) points of each path of a colour of the palette that has no fill."""
    paths = elements(markup, "path", style=f"stroke: var(--{colour}")
    return [
        np.array(NUMBERS.findall(path.get("d")), float).reshape(-1, 2)
        for path in paths
        if "fill: none" in path.get("style") and "clip-path" in path.attrib
    ]


def test_a_line_keeps_its_proportions():
    points = ((0.0, 0.0), (5.0, 1.0), (10.0, 0.5))
    (line,) = lines(line_chart([Series("a", points)], "t", ("x", "y"), (0, 1)), "s1")
    span = line.max(0) - line.min(0)
    assert (line[:, 0] - line[0, 0]) / span[0] == pytest.approx([0, 0.5, 1], abs=1e-4)
    assert (line[0, 1] - line[:, 1]) / span[1] == pytest.approx([0, 1, 0.5], abs=1e-4)


def test_a_single_point_is_a_mark():
    assert elements(line_chart([Series("a", ((1.0, 0.5),))], "t", ("epoch", "y")), "use")


def test_no_points_say_so():
    assert "Loss: no values." in line_chart([Series("a", ())], "Loss", ("x", "y"))


def test_text_is_escaped_everywhere():
    drawn = (
        line_chart([Series(HOSTILE, ((0.0, 1.0), (1.0, 2.0))), Series("b", ((0.0, 1.0),))], HOSTILE, (HOSTILE, "y")),
        interval_chart([Interval(HOSTILE, 0.5, 0.4, 0.6, HOSTILE)], HOSTILE, HOSTILE, 0.7),
        difference_chart([(Interval(HOSTILE, 0.1), HOSTILE)], HOSTILE, HOSTILE),
    )
    for markup in drawn:
        assert "<script" not in markup
        assert "<style" not in markup  # it would reach the page around it
        assert HOSTILE in "".join(parse(markup).itertext())
        assert parse(markup).get("aria-label") == HOSTILE


def test_interval_rows_by_hand():
    drawn = interval_chart([Interval("all", 0.5, 0.25, 0.75), Interval("none", None)], "t", "Dice", reference=1.0)
    low, high, dot = ((float(mark.get("x")), float(mark.get("y"))) for mark in elements(drawn, "use", style="var(--s1"))
    assert dot == pytest.approx(((low[0] + high[0]) / 2, low[1]), abs=1e-3)
    assert low[1] == high[1]
    # A quarter of the axes' width, 5.4 inches less the room for labels and values, is from 0.25 to 0.5.
    assert dot[0] - low[0] == pytest.approx(72 * plotting.WIDTH * (1 - 0.32 - 0.375) / 4, abs=1e-3)
    assert "no value" in drawn


def test_differences_reach_no_further_than_their_axis_and_headings_have_no_mark():
    rows = [(Interval("Dice", None, heading=True), ""), (Interval("a", 0.4, -0.1, 0.9), "+0.400")]
    drawn = difference_chart(rows, "t", "to b")
    width = float(parse(drawn).get("viewBox").split()[2])
    assert all(0 < float(mark.get("x")) < width for mark in elements(drawn, "use") if mark.get("x"))
    assert sum(mark.get("x") is not None for mark in elements(drawn, "use", style="fill: var(--s1")) >= 1


def test_every_colour_of_the_palette_is_a_variable_that_dark_screens_change():
    figure, axes = new_figure("t", phantom=True)
    axes.plot([0, 1], color=BLUE)
    drawn = inline(figure, "t")
    assert f"var(--s1, {BLUE})" in drawn
    assert not re.search(rf"(?:stroke|fill): (?:{plotting.INK}|{plotting.GREY}|{BLUE})", drawn)
    light, dark = palette_css().split("@media")
    variables = set(re.findall(r"--\w+", drawn))
    assert variables <= set(re.findall(r"--\w+", light)) == set(re.findall(r"--\w+", dark))
    assert "prefers-color-scheme:dark" in dark


def test_every_mark_says_on_hovering_what_it_is():
    figure = blank_figure("")
    dots = figure.subplots().scatter([0, 1, 1], [0, 0, 1])
    titles = [element.text for element in elements(inline(figure, "t", {dots: ["a", "b", HOSTILE]}), "title")]
    assert titles == ["a", "b", HOSTILE]


def test_files_are_the_same_whenever_they_are_drawn_and_whatever_the_users_matplotlibrc(tmp_path):
    def draw(name):
        figure, axes = new_figure("", phantom=False, height=2)
        axes.plot([0, 1], label="a")
        axes.legend()
        save(figure, tmp_path / f"{name}.png")
        return [(tmp_path / f"{name}{suffix}").read_bytes() for suffix in (".png", ".svg")]

    first = draw("first")
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "red", "svg.fonttype": "path"}):
        assert draw("second") == first
    assert cv2.imread(str(tmp_path / "first.png")).shape[:2] == (2 * DPI, round(plotting.WIDTH * DPI))
    root = ET.fromstring(first[1])  # noqa: S314 - our own
    width = float(root.get("viewBox").split()[2])
    # A phone gives a figure about 340 px; letters of 9 px and more can be read.
    sizes = [float(size) for size in re.findall(r"font(?:-size)?: ([0-9.]+)px", first[1].decode())]
    assert min(sizes) * 340 / width >= 9
