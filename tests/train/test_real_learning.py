"""A pre-trained network learns on real radiographs within minutes on one thread."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from benchmarks import real as benchmark
from benchmarks.choosing import Stored

from pneumoseg.rule.cases import patient_codes
from pneumoseg.stats.bootstrap import PatientBootstrap, Weighted
from pneumoseg.stats.ranking import weighted_auc


@pytest.mark.long
@pytest.mark.real
def test_ranks_real_radiographs_above_chance(real: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """120 radiographs with pneumothorax and 240 without, four short epochs; judged on patients not trained on."""
    root, table = tmp_path / "images", tmp_path / "train-rle.csv"
    root.mkdir()
    with (real / "siim-learn/train-rle.csv").open() as file:
        header, *rows = csv.reader(file)
    negative = [row for row in rows if row[1].strip() == "-1"][:240]
    wanted = sorted({row[0] for row in rows if row[1].strip() != "-1"})[:120]
    chosen = negative + [row for row in rows if row[0] in wanted]
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([header, *chosen])
    for image_id in {row[0] for row in chosen}:
        (root / f"{image_id}.dcm").symlink_to(real / f"siim-learn/dicom-images-train/{image_id}.dcm")
    monkeypatch.setattr(benchmark, "CACHE", tmp_path)
    changes = [
        "split.positive_share=0.5",
        "train.phases=[{name: main, size_px: 128, epochs: 4}]",
    ]
    weights = real / "weights/tf_efficientnet_lite0.safetensors"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        benchmark.train(root, table, weights, changes, 1)
    finally:
        torch.set_num_threads(threads)
    stored = Stored(benchmark.stored(benchmark.params_of(root, table, weights, 1, changes))).arrays
    # Averaged weights, which no validation image chose: those judge as fairly as the held-out ones.
    probability, positive = stored["probability"][-1], stored["truth_px"] > 0
    bootstrap = PatientBootstrap(patient_codes(stored["patient"].tolist()), 2000, 0)
    auc = Weighted(lambda counts: weighted_auc(probability, positive, counts), len(positive))
    assert bootstrap.interval(auc)[0] > 0.5, auc.value
