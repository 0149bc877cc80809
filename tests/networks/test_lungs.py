"""The crop to the lungs: the box, its fallback, and that a map comes back to where it belongs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pneumoseg.config.model import LungParams
from pneumoseg.networks.building import build_network
from pneumoseg.networks.lungs import LungFinder, lung_finder
from pneumoseg.networks.storage import save_model
from pneumoseg.predict.predictor import Group, Predictor
from pneumoseg.predict.runner import load_networks
from pneumoseg.rule.crop import Box, box_of, read_box, write_box
from pneumoseg.rule.maps import restore_map
from pneumoseg.shared.errors import DataError, ParameterError
from pneumoseg.shared.files import read_png, write_png
from pneumoseg.shared.layout import Layout
from pneumoseg.train.lung_boxes import count_cut, find_boxes
from pneumoseg.train.training import write_fold
from tests.predict.network_stubs import PARAMS, network
from tests.train.disks import SMALL, initial_weights, load, make_params, train, write_disks

pytestmark = pytest.mark.filterwarnings("default::UserWarning", "default::FutureWarning")

MASKS = LungParams(source="masks")


def lungs(rows: int = 128, columns: int = 128, top: int = 32, bottom: int = 96) -> np.ndarray:
    """Two upright rectangles, from 1/4 to 7/16 and from 9/16 to 3/4 of the width."""
    mask = np.zeros((rows, columns), np.uint8)
    for left, right in ((4, 7), (9, 12)):
        mask[top:bottom, columns * left // 16 : columns * right // 16] = 255
    return mask


def test_the_box_of_both_lungs_with_its_margin() -> None:
    box = box_of(lungs(), 0.125, 0.2)
    assert (box.top, box.left, box.bottom, box.right, box.whole) == (0.125, 0.125, 0.875, 0.875, "")
    assert box_of(lungs(), 0.0, 0.2) == Box(0.25, 0.25, 0.75, 0.75)
    assert box_of(lungs(256, 512, 64, 192), 0.0, 0.2) == Box(0.25, 0.25, 0.75, 0.75)  # of any size
    at_the_border = box_of(lungs(top=0, bottom=128), 0.4, 0.2)
    assert (at_the_border.top, at_the_border.left, at_the_border.bottom, at_the_border.right) == (0, 0, 1, 1)
    assert at_the_border.whole == ""


@pytest.mark.parametrize(
    ("mask", "why"),
    [
        (None, "no lung mask"),
        (np.zeros((128, 128), np.uint8), "0 lungs in the mask"),
        (lungs() * (np.arange(128) < 64).astype(np.uint8), "1 lung in the mask"),  # one has collapsed
        (lungs(top=60, bottom=68), "lungs too small"),
    ],
)
def test_without_two_lungs_of_some_size_the_whole_image_is_seen(mask: np.ndarray | None, why: str) -> None:
    assert box_of(mask, 0.08, 0.2) == Box(whole=why)


def test_a_crumb_is_no_lung() -> None:
    mask = lungs() * (np.arange(128) < 64).astype(np.uint8)
    mask[5:10, 120:125] = 255
    assert box_of(mask, 0.0, 0.0).whole == "1 lung in the mask"


@pytest.mark.parametrize("box", [Box(0.125, 0.25, 0.75, 0.875), Box(0.0, 0.25, 0.75, 1.0)])  # within, at the border
@pytest.mark.parametrize(("rows", "columns"), [(1024, 1024), (333, 517), (64, 96)])
def test_a_map_put_back_is_the_map_of_the_whole_image(rows: int, columns: int, box: Box) -> None:
    """Smooth values sampled in the box and enlarged there are those of the image, within interpolation."""
    y, x = ((np.arange(128) + 0.5) / 128 for _ in range(2))
    down = box.top + y * (box.bottom - box.top)
    across = box.left + x * (box.right - box.left)
    smooth = (np.sin(3 * down)[:, None] * np.cos(2 * across)[None] + 1) / 2
    rows_at, columns_at = (np.arange(rows) + 0.5) / rows, (np.arange(columns) + 0.5) / columns
    exact = (np.sin(3 * rows_at)[:, None] * np.cos(2 * columns_at)[None] + 1) / 2
    back = box.paste(restore_map(smooth.astype(np.float32), *box.size(rows, columns)), rows, columns)
    window = box.window(rows, columns)
    assert np.abs(back - exact)[window].max() < 0.01
    outside = np.ones((rows, columns), bool)
    outside[window] = False
    assert not back[outside].any()


def test_boxes_are_kept_as_they_were(tmp_path: Path) -> None:
    for box in (Box(0.125, 0.25, 0.75, 0.8828125), Box(whole="1 lung in the mask")):
        write_box(tmp_path / "a.box", box)
        assert read_box(tmp_path / "a.box") == box
    (tmp_path / "a.box").write_text("0 1\n")
    with pytest.raises(DataError, match=r"a\.box: no box of a crop"):
        read_box(tmp_path / "a.box")


def test_a_network_sees_the_box_and_its_map_lies_there() -> None:
    """The stub says .2 of the left half of what it sees and .8 of the right."""
    trained = replace(network(0.2, 0.8), lungs=LungFinder(LungParams(source="masks", margin=0.0)))
    image = np.zeros((128, 128), np.uint8)
    cropped, whole = Predictor([Group((trained,))])([image] * 2, lungs=[lungs(), None])
    assert cropped.seen == Box(0.25, 0.25, 0.75, 0.75)
    expected = np.zeros((128, 128))
    expected[32:96, 32:64], expected[32:96, 64:96] = 0.2, 0.8
    far = np.ones(128, bool)
    far[62:66] = False  # where the halves meet, interpolation mixes them
    assert cropped.map[:, far] == pytest.approx(expected[:, far], abs=1e-3)
    assert whole.seen == Box(whole="no lung mask")
    assert whole.map[:, 10] == pytest.approx(0.2, abs=1e-3)
    in_use = Predictor([Group((trained,))])([image])[0]  # no mask is given: as a bundle reads a file
    assert in_use.seen.whole == "no lung mask"
    # With a network that sees all, nothing is unseen; in the middle it is the mean of both.
    both = Predictor([Group((trained, network(0.2, 0.8)))])([image], lungs=[lungs()])[0]
    assert (both.seen.top, both.seen.bottom) == (0, 1) if both.seen else both.seen is None
    assert both.map[64, 40] == pytest.approx(0.2, abs=1e-3)
    assert both.map[64, 5] == pytest.approx(0.1, abs=1e-3)


def cropped_disks(root: Path) -> Layout:
    """The disks, with lungs around the middle of every image but the first, which has one alone."""
    layout = write_disks(root)
    for path in sorted(layout.images.glob("*.png")):
        mask = lungs(96, 96, 12, 84)
        write_png(layout.lungs / path.name, mask * (path.stem != "image00" or np.arange(96) < 48))
    return layout


@pytest.mark.slow
def test_training_validation_and_prediction_see_the_same_box(tmp_path: Path) -> None:
    layout = cropped_disks(tmp_path)
    params = make_params(model={"lungs": {"source": "masks", "margin": 0.05}}, phase={"epochs": 12})
    data = load(layout, params)
    assert data.box("image00").whole == "1 lung in the mask"
    box = data.box("image02")
    assert (box.top, box.bottom) == (9 / 128, 119 / 128)
    assert data.digest != load(layout, make_params()).digest
    trained = train(layout, tmp_path, params)
    assert trained.summary["n_seen_whole"] == 1
    # Counted by hand: of disks, what lies outside of the box.
    counted = count_cut(data.boxes, layout)
    assert trained.summary["lesion_cut_px"] == counted["lesion_cut_px"] > 0
    assert 0 < trained.summary["lesion_cut_worst"] < 1
    assert trained.summary["val_dice_pos"] > 0.02
    # What prediction gives is what validation counted.
    save_model(tmp_path / "fold1", trained.model, trained.model_params, 64)
    (loaded,) = load_networks(tmp_path / "fold1")
    names = list(data.validation_ids)
    answers = Predictor([Group((loaded,))])(
        [read_png(layout.images / f"{name}.png") for name in names],
        lungs=[read_png(layout.lungs / f"{name}.png") for name in names],
    )
    scores = []
    for name, answer in zip(names, answers, strict=True):
        path = layout.masks / f"{name}.png"
        if path.is_file():
            truth, marked = read_png(path) > 0, np.rint(255 * answer.map) > 255 * 0.5
            scores.append(2 * (truth & marked).sum() / (truth.sum() + marked.sum()))
    assert np.mean(scores) == pytest.approx(trained.summary["val_dice_pos"], abs=1e-3)


@pytest.mark.slow
def test_a_network_that_learnt_lungs_finds_them_and_travels_along(tmp_path: Path) -> None:
    layout = cropped_disks(tmp_path / "disks")
    lung_params = make_params(model=SMALL)
    torch.manual_seed(0)
    lung_network = build_network(lung_params.model)
    save_model(tmp_path / "lungs", lung_network, lung_params.model, 64)
    source = str(tmp_path / "lungs")
    params = make_params(model={"lungs": {"source": source}}, phase={"epochs": 1})
    finder = lung_finder(params.model.lungs)
    boxes = find_boxes(finder, ["image02", "image03"], layout)
    assert set(boxes) == {"image02", "image03"}
    trained = train(layout, tmp_path, params)
    write_fold(trained, Layout(tmp_path), {})
    folder = tmp_path / "data/models/fold1"
    for file in (tmp_path / "lungs").iterdir():
        assert (folder / "lungs" / file.name).read_bytes() == file.read_bytes()
        file.unlink()
    (loaded,) = load_networks(folder)  # the original is gone, as on another machine
    assert loaded.lungs is not None
    assert not loaded.lungs.by_masks
    assert loaded.lungs.boxes([np.zeros((96, 96), np.uint8)])[0].whole
    with pytest.raises(ParameterError, match=r"model\.lungs\.source = .*/lungs: no model folder"):
        lung_finder(params.model.lungs)
    for file in (folder / "lungs").iterdir():
        file.unlink()
    with pytest.raises(DataError, match=r"the lung network of .* is not there"):
        load_networks(folder)
    assert initial_weights(params).keys() == trained.model.state_dict().keys()
    assert PARAMS.model.lungs.source is None
