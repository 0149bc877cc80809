"""Galleries: told rules, no case in two of best, median and worst, and nothing flattering among the best."""

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pneumoseg.report.galleries import choose_galleries

LIMITS = (100, 1000)


def size(truth_px):
    return "" if not truth_px else "small" if truth_px < 100 else "medium" if truth_px < 1000 else "large"


def frame(rows):
    rows = [(*row, size(row[2])) for row in rows]
    frame = pd.DataFrame(rows, columns=["image_id", "dice", "truth_px", "predicted_px", "lesion_size"])
    called = frame["predicted_px"].gt(0).astype(int)
    return frame.assign(pneumothorax=frame["truth_px"].gt(0).astype(int), called=called, probability=0.5)


def test_without_maps_cases_are_chosen_by_probability_and_by_label():
    rows = frame([(name, None, None, None) for name in "abcdef"]).assign(
        pneumothorax=[1, 1, 1, 0, 0, 0], called=[1, 0, 1, 1, 0, 1], probability=[0.7, 0.2, 0.9, 0.6, 0.1, 0.8]
    )
    chosen = {gallery.key: gallery.image_ids for gallery in choose_galleries(rows, (5000, 14000), 2)}
    assert chosen == {"found": ("c", "a"), "missed": ("b",), "false-alarms": ("f", "d")}


def test_a_label_without_a_mask_is_missed_or_in_no_gallery_by_dice():
    rows = frame([("a", 0.5, 10, 10), ("b", None, None, 0), ("c", None, None, 9)])
    rows["pneumothorax"] = 1
    galleries = choose_galleries(rows, (5000, 14000), 2)
    chosen = {gallery.key: gallery.image_ids for gallery in galleries}
    assert "of 1 pneumothoraces with a marked pixel (left out: 1 more," in galleries[0].rule
    assert chosen["best"] == ("a",)
    assert chosen["missed"] == ("b",)
    assert "c" not in sum(chosen.values(), ())


CASES = frame(
    [
        ("p1", 0.9, 1000, 990),
        ("p2", 0.8, 100, 80),
        ("p3", 0.7, 99, 90),
        ("p4", 0.5, 5000, 100),
        ("p5", 0.4, 999, 300),
        ("p6", 0.1, 50, 20),
        ("m1", 0.0, 70, 0),
        ("m2", 0.0, 3000, 0),
        ("n1", 1.0, 0, 0),
        ("n2", 0.0, 0, 40),
        ("n3", 0.0, 0, 400),
    ]
)


def chosen(count):
    return {gallery.key: gallery.image_ids for gallery in choose_galleries(CASES, LIMITS, count)}


def test_by_hand():
    ranked = {
        "best": ("p1", "p2"),
        "median": ("p3", "p4"),
        "worst": ("p6", "p5"),
        "missed": ("m2", "m1"),
        "false-alarms": ("n3", "n2"),
    }
    # Every pneumothorax is shown by then, and none twice.
    assert chosen(2) == ranked | {"size-small": (), "size-medium": (), "size-large": ()}
    one = {key: ids[:1] for key, ids in ranked.items()}
    assert chosen(1) == one | {"size-small": ("m1",), "size-medium": ("p2",), "size-large": ("p4",)}


def test_an_empty_image_called_empty_is_never_among_the_best():
    assert all("n1" not in ids for ids in chosen(100).values())


def test_rules_tell_out_of_how_many():
    rules = {gallery.key: gallery.rule for gallery in choose_galleries(CASES, LIMITS, 2)}
    assert rules["missed"] == "No pixel marked in 2 of 8 pneumothoraces; the largest first."
    assert rules["false-alarms"].startswith("Pixels marked in 2 of 3 images without pneumothorax")
    assert rules["size-medium"] == "From 100 to 1,000 px of a 1024 x 1024 image; all 2 are shown above."
    rules = {gallery.key: gallery.rule for gallery in choose_galleries(CASES, LIMITS, 1)}
    assert rules["size-medium"].endswith("; 1 of 2 at equal steps from the highest Dice to the lowest.")
    assert rules["size-large"].endswith("; all 1, by Dice; 2 more are shown above.")


@pytest.mark.parametrize(
    "rows", [[], [("n1", 1.0, 0, 0)], [("p1", 0.5, 10, 10)], [("p1", 0.5, 10, 10), ("p2", 0.4, 9, 9)]]
)
def test_tiny_sets(rows):
    galleries = {gallery.key: gallery.image_ids for gallery in choose_galleries(frame(rows), LIMITS, 6)}
    shown = galleries["best"] + galleries["median"] + galleries["worst"]
    assert sorted(shown) == [row[0] for row in rows if row[2] > 0]


@pytest.mark.slow
@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 10), st.integers(0, 3), st.integers(0, 3)), max_size=40),
    st.integers(1, 8),
)
def test_properties(values, count):
    rows = [
        (f"i{index:02d}", dice / 10, truth * 60, predicted) for index, (dice, truth, predicted) in enumerate(values)
    ]
    galleries = {gallery.key: gallery.image_ids for gallery in choose_galleries(frame(rows), LIMITS, count)}
    ranked = galleries["best"] + galleries["median"] + galleries["worst"]
    assert len(set(ranked)) == len(ranked)
    scores = {row[0]: row[1] for row in rows}
    for first, second in (("best", "median"), ("median", "worst")):
        for a in galleries[first]:
            assert all(scores[a] >= scores[b] for b in galleries[second])
    assert all(len(ids) <= count for ids in galleries.values())
    every = [name for ids in galleries.values() for name in ids]
    assert len(set(every)) == len(every)
    found = sum(row[2] > 0 and row[3] > 0 for row in rows)
    if found >= 3:
        assert galleries["best"]
        assert galleries["median"]
        assert galleries["worst"]
