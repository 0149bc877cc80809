"""What a family or an option is worth on phantoms, judged as the pipeline judges: python -m benchmarks phantoms NAME.

    detector: model.architecture = mask_rcnn for 15 epochs, the other defaults, on the default phantoms.
    lungs: the default U-Net with and without the crop to the lungs, by lung masks and by a network that learnt them.

Everything is the pipeline's own: fold 0 trained, the rule tuned on its validation images, test images judged. It shows
that a part works, and says nothing of radiographs. What is drawn and trained is kept in .cache/phantoms.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ruamel.yaml import YAML

from benchmarks import changed
from pneumoseg.config import Params, parse_params
from pneumoseg.config.flat import merge
from pneumoseg.evaluate.assessing import Judged, judge
from pneumoseg.extract.extraction import extract
from pneumoseg.masks.mask_files import write_masks
from pneumoseg.phantom import generate
from pneumoseg.predict.predicting import predict
from pneumoseg.rule.cases import Predictions, patient_codes
from pneumoseg.shared.layout import Layout
from pneumoseg.split.splitting import split
from pneumoseg.stats.bootstrap import Estimate, PatientBootstrap
from pneumoseg.stats.margins import margin_of
from pneumoseg.train.fold_data import load_fold
from pneumoseg.train.resume import Checkpoint
from pneumoseg.train.training import train_fold, write_fold
from pneumoseg.tune.tuning import tune

HOME = Path(__file__).resolve().parent.parent
CACHE = HOME / ".cache/phantoms"
#: Where the data lie from the folder of a run.
DRAWN = {"phantom": {"lungs": True}, "data": {"lungs": "data/phantom/lungs.csv"}}
PREPARED = ("images", "lungs", "masks", "splits", "metadata.csv", "annotations.csv")


def main(arguments: Sequence[str]) -> str:
    """The table of a benchmark, named by the first argument; the others are key=value for params.yaml."""
    tables = {"detector": detector, "lungs": lungs}
    if not arguments or arguments[0] not in tables:
        raise SystemExit(f"python -m benchmarks phantoms {' | '.join(tables)} [key=value ...]")
    return tables[arguments[0]](changed(arguments[1:]))


def detector(changes: Mapping[str, Any]) -> str:
    """D_pos, AUC and the average precision of a detector."""
    judged = run(
        "detector", merge({"model": {"architecture": "mask_rcnn"}, "train": {"phases": [phase(128, 15)]}}, changes)
    )
    names = ("dice_pos", "dice_all", "all_empty", "sensitivity", "specificity", "auc", "ap", "ap50", "ap75",
             "box_ap", "box_ap50", "box_ap75")  # fmt: skip
    return "\n".join(["Mask R-CNN on phantoms, test images", *(_row(judged, name) for name in names)])


def lungs(changes: Mapping[str, Any]) -> str:
    """D_pos of the whole image and of the crop, also at as many pixels on the lungs, with paired differences."""
    masks = {"model": {"lungs": {"source": "masks"}}}
    whole = run("whole", changes)
    larger = run("whole-160", merge({"train": {"phases": [phase(160)]}}, changes))
    crop = run("crop", merge(masks, changes))
    network = run("crop-network", merge({"model": {"lungs": {"source": str(lung_network(changes))}}}, changes))
    lines = [
        "Crop to the lungs on phantoms, test images: Dice of positives",
        *(
            f"{name:<34}{_told(one.result.figure('dice_pos'))}"
            for name, one in (
                ("whole image, 128 px", whole),
                ("whole image, 160 px", larger),
                ("lungs by masks, 128 px", crop),
                ("lungs by a network, 128 px", network),
            )
        ),
        f"{'masks - whole, 128 px':<34}{_difference(crop, whole)}",
        f"{'masks - whole, 160 px':<34}{_difference(crop, larger)}",
    ]
    return "\n".join(
        lines + [note.text for one in (crop, network) for note in one.result.notes if note.code == "lung_crop"]
    )


def run(name: str, changes: Mapping[str, Any]) -> Judged:
    """Train, tune and judge one configuration on the phantoms; nothing is done twice."""
    home = prepared()
    params, layout = parameters(changes), Layout(CACHE / name)
    for part in PREPARED:
        target = layout.data / part
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to((home.data / part).resolve())
    if not (layout.models / "fold0").is_dir():
        train(layout, params)
    if not layout.predictions.is_dir():
        predict(layout, (0,), params.predict, params.runtime)
    tune(layout, params.tune)
    return judge(layout, Predictions.read(layout), params.evaluate, None)


def train(layout: Layout, params: Params) -> None:
    """Fold 0 of a layout."""
    data = load_fold(layout, 0, params)
    checkpoint = Checkpoint(layout.root / "resume", 60.0)
    trained = train_fold(data, params, CACHE / "arrays", checkpoint, lambda *_: None)
    write_fold(trained, layout, {"fold": 0, "train_key": "", "data": data.digest})
    checkpoint.delete()


def prepared() -> Layout:
    """The default phantoms with their lungs, through the stages before training."""
    layout, params = Layout(CACHE / "drawn"), parameters({})
    if not layout.splits.is_dir():
        generate(layout, params.phantom, None)
        extract(layout, params.data, params.extract, None)
        write_masks(layout, params.data, params.masks, None)
        split(layout, params.split, params.augment, None)
    return layout


def lung_network(changes: Mapping[str, Any]) -> Path:
    """The folder of a U-Net that learnt the lung masks of the training images alone."""
    home, layout = prepared(), Layout(CACHE / "lung-network")
    if not (layout.models / "fold0").is_dir():
        for part in ("images", "metadata.csv"):
            (layout.data / part).parent.mkdir(parents=True, exist_ok=True)
            if not (layout.data / part).exists():
                (layout.data / part).symlink_to((home.data / part).resolve())
        if not layout.masks.exists():
            layout.masks.symlink_to(home.lungs.resolve())
        _all_positive(home, layout)
        train(layout, parameters(merge({"train": {"selection_metric": "iou", "phases": [phase(128, 4)]}}, changes)))
    return layout.models / "fold0"


def _all_positive(home: Layout, layout: Layout) -> None:
    """The tables of a training in which every image has a mask: its lungs."""
    layout.splits.mkdir(parents=True, exist_ok=True)
    for name in ("folds.csv", "unlabelled_fold0.csv"):
        (layout.splits / name).write_bytes((home.splits / name).read_bytes())
    pool = pd.read_csv(home.splits / "train_fold0.csv", dtype=str)
    pool[pool["copy"] == "0"].assign(pneumothorax="1", augmentation="none").to_csv(
        layout.splits / "train_fold0.csv", index=False
    )
    pd.read_csv(home.annotations, dtype=str).assign(annotated="1", pneumothorax="1", mask_known="1").to_csv(
        layout.annotations, index=False
    )


def parameters(changes: Mapping[str, Any]) -> Params:
    """Those of params.yaml with some changes."""
    content = YAML(typ="safe").load(HOME / "params.yaml")
    return parse_params(merge(merge(content, DRAWN), changes))


def phase(size_px: int, epochs: int = 10) -> dict[str, Any]:
    """The one phase of a training."""
    return {"name": "main", "size_px": size_px, "epochs": epochs}


def _row(judged: Judged, name: str) -> str:
    return f"{name:<34}{_told(judged.result.figure(name))}"


def _told(figure: Estimate) -> str:
    if figure.value is None:
        return "none"
    spread = "" if figure.low is None or figure.high is None else f" ({figure.low:.3f} to {figure.high:.3f})"
    return f"{figure.value:.3f}{spread}"


def _difference(one: Judged, other: Judged) -> str:
    """The mean paired difference of Dice of the positives."""
    rows = one.rows.merge(other.rows[["image_id", "dice"]], on="image_id", suffixes=("", "_other"))
    rows = rows[rows["pneumothorax"] == 1]
    bootstrap = PatientBootstrap(patient_codes(list(rows["patient"])), 2000, 0)
    dice, others = (rows[name].to_numpy(np.float64) for name in ("dice", "dice_other"))
    return _told(margin_of(dice, others, bootstrap).estimate)


if __name__ == "__main__":
    os.chdir(HOME)
    print(main(sys.argv[1:]))
