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
from pneumoseg.stats.bootstrap import PatientBootstrap, Weighted
from pneumoseg.stats.ranking import weighted_auc
from tests.train.disks import make_params, train

MASKS, LABELS, VALIDATING, HELD, SIZE_PX = 24, 160, 8, 160, 64
#: Passes over the images with a mask in an epoch, so that both trainings take as many steps on the same masks.
COPIES, EPOCHS = 6, 6


@pytest.fixture(scope="module")
def few_masks(tmp_path_factory: pytest.TempPathFactory) -> tuple[Layout, pd.DataFrame]:
    """Phantoms with large pneumothoraces, half of them positive; the last 160 (fold 2) are asked at the end alone."""
    layout = Layout(tmp_path_factory.mktemp("few"))
    count = MASKS + LABELS + VALIDATING + HELD
    params = PhantomParams(
        seed=1, images=count, prevalence=0.5, size_px=SIZE_PX, unannotated_images=0, unlabelled_images=0,
        pneumothorax_median_area=0.04, pneumothorax_log_sd=0.5, confounder_share=0.0,
    )  # fmt: skip
    rows, left = [], {True: MASKS // 2, False: MASKS // 2}
    for index in range(count):
        phantom, name = render_phantom(params, index), f"phantom{index:03d}"
        write_png(layout.images / f"{name}.png", phantom.image)
        positive, fold = bool(phantom.mask.any()), "0" if index < MASKS + LABELS else "1"
        fold = "2" if index >= count - HELD else fold
        known = fold != "0" or left[positive] > 0
        left[positive] -= fold == "0" and known
        if positive and known:
            write_png(layout.masks / f"{name}.png", phantom.mask.astype(np.uint8) * 255)
        row = {"image_id": name, "annotated": 1, "pneumothorax": int(positive), "mask_known": int(known)}
        rows.append(row | {"fold": fold, "patient": name})
    table = pd.DataFrame(rows)
    write_table(layout.annotations, table.drop(columns=["fold", "patient"]), ANNOTATIONS)
    write_table(layout.folds, table[list(FOLDS)], FOLDS)
    write_table(layout.splits / "unlabelled_fold1.csv", pd.DataFrame({"image_id": []}, dtype="str"), UNLABELLED)
    return layout, table


def probabilities(layout: Layout, table: pd.DataFrame, folder: Path, label_only: bool) -> np.ndarray:
    """Of the held-out images: 18 batches of 8 with masks an epoch, beside each 8 with a label alone, or none."""
    pool = table[(table["fold"] == "0") & ((table["mask_known"] == 1) | label_only)]
    rows = pool.loc[pool.index.repeat(np.where(pool["mask_known"] == 1, COPIES, 1))]
    manifest = rows[["image_id", "pneumothorax"]].assign(augmentation="horizontal_flip", copy=0)
    write_table(layout.splits / "train_fold1.csv", manifest, MANIFEST)
    share = {"batch_size": 16, "label_only_share": 0.5} if label_only else {"batch_size": 8}
    head, phase = {"image_head": {"enabled": True}, "encoder": "resnet18"}, {"size_px": SIZE_PX, "epochs": EPOCHS}
    params = make_params(phase=phase, model=head, keep="last", seed=1, loss={"image": {"bce": 0.5}}, **share)
    model = train(layout, folder, params).model.eval()
    said = []
    for name in table.loc[table["fold"] == "2", "image_id"]:
        pixels = torch.from_numpy(resize_image(read_png(layout.images / f"{name}.png"), SIZE_PX)[None])
        with torch.inference_mode():
            said.append(float(FAMILIES["unet"].predict(model(normalise(pixels, model))).image))
    return np.array(said)


@pytest.mark.long
@pytest.mark.filterwarnings("default::UserWarning", "default::FutureWarning")
def test_labels_without_masks_raise_the_auc(few_masks: tuple[Layout, pd.DataFrame], tmp_path: Path):
    layout, table = few_masks
    positive = table.loc[table["fold"] == "2", "pneumothorax"].to_numpy() == 1
    without, within = (probabilities(layout, table, tmp_path / str(flag), flag) for flag in (False, True))

    def gain(weights: np.ndarray) -> np.ndarray:
        return weighted_auc(within, positive, weights) - weighted_auc(without, positive, weights)

    bootstrap = PatientBootstrap(np.arange(len(positive)), 2000, 0)
    found = bootstrap.estimates({"gain": Weighted(gain, len(positive))})["gain"]
    assert found.low > 0, f"AUC gained: {found}"
