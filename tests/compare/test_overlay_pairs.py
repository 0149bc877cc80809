"""What two experiments marked on an image: each with its own maps and rule, and nothing that was not measured."""

import base64
import json
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from markupsafe import Markup

from pneumoseg.compare import overlay_pairs
from pneumoseg.compare.overlay_pairs import SHOWN_IMAGES, Pairs, draw_pairs
from pneumoseg.drawing.overlays import COLOURS, FALSE_NEGATIVE, FALSE_POSITIVE, TRUE_POSITIVE
from pneumoseg.rule.decision import DecisionRule
from pneumoseg.shared.files import write_json, write_png
from pneumoseg.shared.layout import Layout
from tests.compare.comparison_cases import case_table, experiment

SIDE = 32
IDS = [f"i{number}" for number in range(SHOWN_IMAGES + 1)]
#: Truth: a square; the first experiment marks its left half, the other all of it and as much beside it.
TRUTH, LEFT, WIDE = (np.s_[8:24, 8:24], np.s_[8:24, 8:16], np.s_[8:24, 8:40])


def area(part: Any, value: int = 255) -> Any:
    picture = np.zeros((SIDE, SIDE * 2), np.uint8)
    picture[part] = value
    return picture


class Cache:
    """Stands for a revision: files come from the folder that is named like its commit."""

    def __init__(self, root: Path, sha: str) -> None:
        self.source = root / sha

    def export(self, paths: Iterable[str], target: Path) -> list[str]:
        lacking = []
        for path in paths:
            if (self.source / path).is_file():
                (target / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(self.source / path, target / path)
            else:
                lacking.append(path)
        return lacking


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two revisions: the first has its map at 200 under a threshold of .75, the other at 100 under one of .25."""
    monkeypatch.setattr(overlay_pairs, "Snapshot", Cache)
    for number, (marked, level, threshold) in enumerate(((LEFT, 200, 0.75), (WIDE, 100, 0.25))):
        layout = Layout(tmp_path / str(number))
        for name in IDS:
            write_png(layout.images / f"{name}.png", area(np.s_[:], 90))
            write_png(layout.predictions / f"test/{name}.png", area(marked, level))
            write_png(layout.masks / f"{name}.png", area(TRUTH))
        rule = DecisionRule("single", threshold).to_json()
        write_json(Layout(tmp_path / "out" / str(number)).thresholds, {"rule": rule})
    return tmp_path


def drawn(world: Path, ids: list[str], **changed: list[int]) -> Pairs:
    count = len(IDS)
    predicted = {"first": [128] * count, "other": [512] * count} | changed
    experiments, rows = [], []
    for number, name in enumerate(("first", "other")):
        rows.append(case_table(IDS, IDS, [256] * count, predicted[name], [128] * count, [0.9] * count))
        experiments.append(experiment(name, rows[-1], sha=str(number)))
    (pairs,) = draw_pairs(world, world / "out", experiments, rows, [ids])
    return pairs


def layer(picture: Markup) -> Any:
    """The pixels of the agreement that a picture holds, (H, W, 4) RGBA."""
    inside = re.search(r'class="agreement" src="data:image/png;base64,([^"]+)"', str(picture))
    assert inside is not None
    content = np.frombuffer(base64.b64decode(inside[1]), np.uint8)
    return cv2.cvtColor(cv2.imdecode(content, cv2.IMREAD_UNCHANGED), cv2.COLOR_BGRA2RGBA)


def test_each_experiment_is_shown_by_its_own_map_and_rule(world: Path):
    first, other = drawn(world, IDS[:1])["i0"]
    colour = {name: COLOURS[name] for name in (TRUE_POSITIVE, FALSE_POSITIVE, FALSE_NEGATIVE)}
    left, right, beside, far = (16, 10), (16, 20), (16, 30), (16, 60)
    seen = {name: [tuple(layer(picture)[place][:3]) for place in (left, right, beside)] for name, picture in
            (("first", first), ("other", other))}  # fmt: skip
    assert seen["first"][:2] == [colour[TRUE_POSITIVE], colour[FALSE_NEGATIVE]]
    assert seen["other"] == [colour[TRUE_POSITIVE], colour[TRUE_POSITIVE], colour[FALSE_POSITIVE]]
    assert layer(first)[beside][3] == layer(first)[far][3] == layer(other)[far][3] == 0


def test_the_first_of_the_list_in_its_order_and_no_more(world: Path):
    assert list(drawn(world, IDS[::-1])) == IDS[::-1][:SHOWN_IMAGES]
    assert drawn(world, []) == {}


def test_an_image_without_pneumothorax_needs_no_mask(world: Path):
    for number in "01":
        (world / number / "data/masks/i0.png").unlink()
    counts = [256] * len(IDS)
    truth = case_table(IDS, IDS, [0, *counts[1:]], [512] * len(IDS), [0] * len(IDS), [0.9] * len(IDS))
    first = truth.assign(predicted_px=128)
    both = [experiment(name, rows, sha=str(number)) for number, (name, rows) in
            enumerate((("first", first), ("other", truth)))]  # fmt: skip
    (pairs,) = draw_pairs(world, world / "out", both, [first, truth], [["i0"]])
    assert tuple(layer(pairs["i0"][1])[16, 10][:3]) == COLOURS[FALSE_POSITIVE]


@pytest.mark.parametrize("file", ["0/data/images/i1.png", "1/data/images/i1.png", "0/data/predictions/test/i1.png"])
def test_where_the_cache_lacks_a_file_none_is_shown(world: Path, file: str):
    (world / file).unlink()
    assert drawn(world, ["i0", "i1"]) == {}


def test_pictures_of_other_maps_than_were_measured_are_not_shown(world: Path):
    assert drawn(world, ["i0", "i1"], other=[512, 511, *[512] * 5]) == {}
    write_png(world / "0/data/predictions/test/i0.png", area(WIDE, 200))
    assert drawn(world, ["i0"]) == {}


def test_a_rule_that_is_read_no_more_is_no_hindrance(world: Path):
    write_json(Layout(world / "out/0").thresholds, json.loads('{"rule": {"kind": "of 2019"}}'))
    assert drawn(world, ["i0"]) == {}
