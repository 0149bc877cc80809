"""The raw data set of nnU-Net v2 (Isensee et al., Nature Methods 2021; its documentation/dataset_format.md)."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pneumoseg.export.samples import TEST, Sample
from pneumoseg.shared.files import write_json, write_png

DATA_SET = "Dataset500_Pneumothorax"


def write_nnunet(folder: Path, samples: Sequence[Sample], folds: Sequence[str]) -> None:
    """Write ``DATA_SET``/ for nnUNet_raw, and splits_final.json, whose place is nnUNet_preprocessed/``DATA_SET``/."""
    raw = folder / DATA_SET
    for part in ("Tr", "Ts"):
        (raw / f"images{part}").mkdir(parents=True)
        (raw / f"labels{part}").mkdir()
    for sample in samples:
        part = "Ts" if sample.fold == TEST else "Tr"
        shutil.copyfile(sample.image, raw / f"images{part}/{sample.image_id}_0000.png")
        write_png(raw / f"labels{part}/{sample.image_id}.png", sample.picture_mask().view(np.uint8))
    training = [sample for sample in samples if sample.fold != TEST]
    description = {
        "name": "Pneumothorax",
        "channel_names": {"0": "radiograph"},
        "labels": {"background": 0, "pneumothorax": 1},
        "numTraining": len(training),
        "file_ending": ".png",
        "overwrite_image_reader_writer": "NaturalImage2DIO",
    }
    write_json(raw / "dataset.json", description)
    splits = [
        {
            "train": [sample.image_id for sample in training if sample.fold != fold],
            "val": [sample.image_id for sample in training if sample.fold == fold],
        }
        for fold in folds
    ]
    write_json(folder / "splits_final.json", splits)
