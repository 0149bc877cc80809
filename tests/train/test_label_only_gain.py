"""What labels without masks bring: phantoms of which few have a mask and many a label, with and without those."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from pneumoseg.config.phantom import PhantomParams
from pneumoseg.networks.preparation import normalise, resize_image
from pneumoseg.phantom import render_phantom
from pneumoseg.shared.files import read_png, write_png
from pneumoseg.shared.layout import Layout
from pneumoseg.shared.registry import FAMILIES
from pneumoseg.shared.tables import ANNOTATIONS, FOLDS, MANIFEST, UNLABELLED, write_table
from pneumoseg.stats.bootstrap import PatientBootstrap, percentile_interval
from pneumoseg.stats.ranking import weighted_auc
from tests.train.disks import make_params, train

IMAGES, TRAINED, MASKS, SIZE_PX = 480, 280, 12, 96


@pytest.fixture(scope="module")
def few_masks(tmp_path_factory: pytest.TempPathFactory) -> tuple[Layout, pd.DataFrame]:
    """Phantoms, half of them positive; of 12 the mask is known. The last 200 validate fold 1, and choose nothing."""
    layout = Layout(tmp_path_factory.mktemp("few"))
    params = PhantomParams(images=IMAGES, prevalence=0.5, size_px=SIZE_PX, unannotated_images=0, unlabelled_images=0)
    rows = []
    for index in range(IMAGES):
        phantom = render_phantom(params, index)
        name = f"phantom{index:03d}"
        write_png(layout.images / f"{name}.png", phantom.image)
        positive = bool(phantom.mask.any())
        known = not positive or sum(row["pneumothorax"] for row in rows) < MASKS or index >= TRAINED
        if positive and known:
            write_png(layout.masks / f"{name}.png", phantom.mask.astype(np.uint8) * 255)
        rows.append({"image_id": name, "annotated": 1, "pneumothorax": int(positive), "mask_known": int(known)})
    table = pd.DataFrame(rows)
    write_table(layout.annotations, table, ANNOTATIONS)
    table["fold"] = np.where(table.index < TRAINED, "0", "1")
    write_table(layout.folds, table.assign(patient=table["image_id"]), FOLDS)
    write_table(layout.splits / "unlabelled_fold1.csv", pd.DataFrame({"image_id": []}, dtype="str"), UNLABELLED)
    return layout, table


def probabilities(layout: Layout, table: pd.DataFrame, folder: Path, label_only: bool) -> np.ndarray:
    """Of the validation images, by a network trained with or without the images that have a label alone.

    Both meet the same masks in as many steps: half of a batch of 16, or a batch of 8.
    """
    pool = table[(table["fold"] == "0") & ((table["mask_known"] == 1) | label_only)]
    marked = (pool["pneumothorax"] == 1) & (pool["mask_known"] == 1)
    copies = pool.loc[pool.index.repeat(np.where(marked, TRAINED // 2 // MASKS, 1))]  # as many rows as negatives
    manifest = copies[["image_id", "pneumothorax"]].assign(augmentation="horizontal_flip", copy=0)
    write_table(layout.splits / "train_fold1.csv", manifest, MANIFEST)
    share = {"batch_size": 16, "label_only_share": 0.5} if label_only else {"batch_size": 8}
    head = {"image_head": {"enabled": True, "pooling": "maximum"}, "encoder": "resnet18"}
    phase = {"size_px": SIZE_PX, "epochs": 6}
    params = make_params(phase=phase, model=head, keep="last", loss={"image": {"bce": 0.5}}, **share)
    model = train(layout, folder, params).model.eval()
    said = []
    for name in table.loc[table["fold"] == "1", "image_id"]:
        pixels = torch.from_numpy(resize_image(read_png(layout.images / f"{name}.png"), SIZE_PX)[None])
        with torch.inference_mode():
            said.append(float(FAMILIES["unet"].predict(model(normalise(pixels, model))).image))
    return np.array(said)


@pytest.mark.long
@pytest.mark.filterwarnings("default::UserWarning", "default::FutureWarning")
def test_labels_without_masks_raise_the_auc(few_masks: tuple[Layout, pd.DataFrame], tmp_path: Path):
    layout, table = few_masks
    positive = table.loc[table["fold"] == "1", "pneumothorax"].to_numpy() == 1
    without, within = (probabilities(layout, table, tmp_path / str(flag), flag) for flag in (False, True))

    def gain(weights: np.ndarray) -> np.ndarray:
        return weighted_auc(within, positive, weights) - weighted_auc(without, positive, weights)

    ones = np.ones((1, len(positive)), np.int64)
    low, high = percentile_interval(PatientBootstrap(np.arange(len(positive)), 2000, 0).statistic(gain))
    found = weighted_auc(without, positive, ones)[0], weighted_auc(within, positive, ones)[0]
    assert low > 0, f"AUC {found[0]:.3f} without, {found[1]:.3f} with; 95 % of the difference {low:.3f} to {high:.3f}"
