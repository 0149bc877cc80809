"""Charts as SVG: positions by hand, well-formed whatever the text, nothing drawn from nothing."""

import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pneumoseg.drawing import svg
from pneumoseg.drawing.charts import Interval, Series, interval_chart, line_chart

HOSTILE = "<script>alert('x')</script>&\""


def parse(markup):
    return ET.fromstring(f"<all>{markup}</all>")  # noqa: S314 - our own markup


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0, 12, [0, 5, 10]),
        (1, 40, [10, 20, 30, 40]),
        (0.0, 0.05, [0, 0.01, 0.02, 0.03, 0.04, 0.05]),
        (3, 3, [3]),
    ],
)
def test_ticks_are_round(low, high, expected):
    assert svg.ticks(low, high) == pytest.approx(expected)


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.integers(1, 12))
def test_ticks_stay_inside(low, span, count):
    found = svg.ticks(low, low + span, count)
    assert all(low - span * 1e-6 - 1e-6 <= tick <= low + span * (1 + 1e-6) + 1e-6 for tick in found)
    assert len(found) <= count + 2


def test_a_line_starts_and_ends_at_the_corners_of_its_frame():
    drawn = line_chart([Series("a", ((0.0, 0.0), (10.0, 1.0)))], "t", ("x", "y"), y_range=(0, 1), x_range=(0, 10))
    path = re.search(r'class="line s1" d="([^"]+)"', drawn).group(1)
    assert path == "M66.0 240.0 L524.0 14.0"  # left + bottom, right + top of 540 x 290


def test_a_single_point_is_a_marker():
    drawn = line_chart([Series("a", ((1.0, 0.5),))], "t", ("epoch", "y"))
    assert 'class="marker s1"' in drawn


def test_no_points_say_so():
    assert "Loss: no values." in line_chart([Series("a", ())], "Loss", ("x", "y"))


def test_text_is_escaped_everywhere():
    lines = line_chart(
        [Series(HOSTILE, ((0.0, 1.0), (1.0, 2.0))), Series("b", ((0.0, 1.0),))], HOSTILE, (HOSTILE, HOSTILE)
    )
    rows = interval_chart([Interval(HOSTILE, 0.5, 0.4, 0.6, HOSTILE)], HOSTILE, HOSTILE, 0.7, HOSTILE)
    for markup in (lines, rows):
        assert "<script" not in markup
        assert HOSTILE in "".join(parse(markup).itertext())


def test_an_interval_row_by_hand():
    drawn = interval_chart([Interval("all", 0.5, 0.25, 0.75), Interval("none", None)], "t", "Dice", reference=1.0)
    # The scale runs from 164 to 368.
    assert '<circle class="dot" cx="266.0" cy="25.0" r="4.5"/>' in drawn
    assert "M215.0 25.0H317.0" in drawn
    assert 'class="line reference" d="M368.0' in drawn
    assert "no value" in drawn
    assert drawn.count('class="dot"') == 1
