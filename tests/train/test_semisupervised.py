"""Mean teacher and pseudo-labels: what they ask for by hand, and that they reach the training."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from pneumoseg.augment import Augmenter
from pneumoseg.config import Params
from pneumoseg.config.semisupervised import MeanTeacherParams, PseudoLabelParams
from pneumoseg.networks.families.segmentation.assembly import Output
from pneumoseg.shared.errors import DataError, ParameterError
from pneumoseg.shared.files import write_png
from pneumoseg.shared.layout import Layout
from pneumoseg.shared.registry import FAMILIES
from pneumoseg.split.patients import find_patients
from pneumoseg.split.splitting import unlabelled_pool
from pneumoseg.train.arrays import build_arrays
from pneumoseg.train.pseudo_labels import load_pseudo_labels
from pneumoseg.train.sampling import Sample
from pneumoseg.train.teacher import MeanTeacher, TwoViews
from tests.train.disks import load, make_params, train


def teacher_params(**changes) -> MeanTeacherParams:
    content = Params().train.mean_teacher.model_dump(mode="json")
    return MeanTeacherParams.model_validate(content | {"images_per_step": 2} | changes, strict=False)


def pseudo_params(folder: Path | str, **changes) -> PseudoLabelParams:
    content = Params().train.pseudo_labels.model_dump(mode="json")
    return PseudoLabelParams.model_validate(content | {"folder": str(folder)} | changes)


def test_weight_and_decay_are_those_of_the_fifth_place():
    """Counted from 0: 0.001 before epoch 5, then 2 exp(-5 (1 - epoch / 30)^2); decay .5, .9, .99, .999."""
    teacher = MeanTeacher(teacher_params(), FAMILIES["unet"], ["a"], 0)
    assert teacher.weight(5) == 0.001
    assert teacher.weight(6) == pytest.approx(2 * np.exp(-5.0 * (25 / 30) ** 2))
    assert teacher.weight(16) == pytest.approx(2 * np.exp(-5.0 * 0.25))
    assert teacher.weight(31) == teacher.weight(99) == 2.0
    decays = [teacher_params().decay_at(epoch) for epoch in (1, 5, 6, 10, 11, 20, 21, 99)]
    assert decays == [0.5, 0.5, 0.9, 0.9, 0.99, 0.99, 0.999, 0.999]


def test_difference_by_hand():
    zero, three = torch.zeros(2, 1, 4, 4), torch.full((2, 1, 4, 4), 3.0)
    teacher = MeanTeacher(teacher_params(image_weight=0.5), FAMILIES["unet"], ["a"], 0)
    student = Output(zero.clone().requires_grad_(), (), torch.zeros(2))
    answer = FAMILIES["unet"].predict(Output(three, (), torch.full((2,), 3.0)))
    got = teacher.difference(student, answer)
    gap = 1 / (1 + np.exp(-3.0)) - 0.5
    assert float(got.detach()) == pytest.approx(1.5 * gap**2, rel=1e-6)
    assert got.requires_grad


def test_each_step_has_its_images_in_every_number_of_processes():
    teacher = MeanTeacher(teacher_params(images_per_step=4), FAMILIES["unet"], ["a", "b", "c"], 7)
    whole = list(teacher.batches("main", 0, 3, 0, 1))
    assert [len(step) for step in whole] == [4, 4, 4]
    flat = [sample.image_id for step in whole for sample in step]
    assert [sorted(flat[start : start + 3]) for start in (0, 3, 6, 9)] == [["a", "b", "c"]] * 4
    halves = [list(teacher.batches("main", 0, 3, rank, 2)) for rank in (0, 1)]
    for step, left, right in zip(whole, *halves, strict=True):
        assert set(step) == {*left, *right}
    assert list(teacher.batches("main", 1, 3, 0, 1)) != whole


def test_views_differ_in_grey_only(disks: Layout, tmp_path: Path):
    """Both are flipped and turned alike: the place of the disk is the same, its grey is not."""
    arrays = build_arrays(load(disks, make_params()), 96, tmp_path)
    augmenter = Augmenter(Params().augment)
    views = TwoViews(arrays, augmenter, 64, teacher_params())
    for seed in range(6):
        teacher, student = views[Sample("image00", "none", seed)]
        assert teacher.shape == student.shape == (64, 64)
        disk = [(view.float() > view.float().mean() + 40).numpy() for view in (teacher, student)]
        if disk[0].sum() > 200:
            overlap = 2 * (disk[0] & disk[1]).sum() / (disk[0].sum() + disk[1].sum())
            assert overlap > 0.9
    same = views[Sample("image00", "none", 3)]
    assert all(torch.equal(one, two) for one, two in zip(same, views[Sample("image00", "none", 3)], strict=True))


def test_no_image_to_teach_is_an_error(disks: Layout, tmp_path: Path):
    shutil.copytree(disks.splits, tmp_path / "data/splits")
    (tmp_path / "data/splits/unlabelled_fold1.csv").write_text("image_id\n")
    with pytest.raises(DataError, match=r"no image without annotation.*images_per_step to 0"):
        load(Layout(tmp_path), make_params(mean_teacher={"images_per_step": 2}))


@pytest.fixture
def maps(tmp_path: Path) -> Path:
    """Maps of three free images, one sure positive, one sure negative, one unsure; and of a training image."""
    folder = tmp_path / "maps1"
    positive = np.zeros((96, 96), np.uint8)
    positive[30:60, 30:60] = 230
    positive[30:60, 60:70] = 140
    unsure = np.full((96, 96), 100, np.uint8)
    for name, levels in {"free0": positive, "free1": np.full((96, 96), 20, np.uint8), "free2": unsure,
                         "image00": positive}.items():  # fmt: skip
        write_png(folder / f"{name}.png", levels)
    return folder


def test_sure_maps_become_labels(maps: Path, tmp_path: Path):
    free = ["free0", "free1", "free2"]
    hard = load_pseudo_labels(pseudo_params(tmp_path / "maps{fold}"), 1, free)
    assert hard.rows[["image_id", "pneumothorax", "copy"]].values.tolist() == [["free0", 1, 0], ["free1", 0, 0]]
    assert hard.dropped == {"unsure": 1}
    assert (hard.mask("free0") == 255).sum() == 30 * 40  # 230 and 140 lie above 127.5
    assert set(np.unique(hard.mask("free0"))) == {0, 255}
    soft = load_pseudo_labels(pseudo_params(maps, targets="soft"), 1, free)
    assert set(np.unique(soft.mask("free0"))) == {0, 140, 230}
    assert soft.digest != hard.digest
    # 900 px above 0.8 of 96 x 96 are 102,400 of 1024 x 1024.
    strict = load_pseudo_labels(pseudo_params(maps, min_area_px_at_1024=102_401), 1, free)
    assert list(strict.maps) == []
    assert strict.dropped == {"unsure": 2}


@pytest.mark.parametrize(
    ("labels", "joins", "dropped"),
    [
        ("free0,1\nfree1,0\nfree2,1\n", ["free0", "free1"], (1, 0, 0, 0)),
        ("free0,0\nfree1,0\n", ["free1"], (1, 0, 1, 0)),
        ("free0,1\nfree1,1.0\n", ["free0"], (1, 0, 0, 1)),
        ("free0,1\nfree1,-1\nimage00,0\n", ["free0"], (1, 1, 0, 0)),
        ("free0,\nfree0,1\n", ["free0"], (1, 1, 0, 0)),
    ],
)
def test_weak_labels_bound_the_maps(maps: Path, tmp_path: Path, labels: str, joins: list[str], dropped: tuple[int]):
    """free0 is surely positive, free1 surely negative, free2 unsure: each joins only where its label says the same."""
    table = tmp_path / "weak.csv"
    table.write_text("image_id,label\n" + labels)
    found = load_pseudo_labels(pseudo_params(maps, weak_labels=str(table)), 1, ["free0", "free1", "free2"])
    assert found.rows["image_id"].tolist() == joins
    names = ("unsure", "no_weak_label", "map_positive_label_negative", "map_negative_label_positive")
    assert found.dropped == dict(zip(names, dropped, strict=True))
    assert list(found.maps) == [name for name in joins if name == "free0"]


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ("image_id,label\nfree0,2\n", "free0 has label 2; give 1, 0"),
        ("image_id,label\nfree0,0\nfree0,1\n", "free0 has label 0 and 1"),
        ("image_id,label\nsomeone,1\n", "no label of an image with a map"),
        ("image_id,label\nfree0,0\nfree1,1\n", r"same opinion .*1 map_positive_label_negative, 1 map_neg"),
        ("id,label\nfree0,1\n", "no column image_id"),
    ],
)
def test_unusable_weak_labels_are_named(maps: Path, tmp_path: Path, table: str, told: str):
    path = tmp_path / "weak.csv"
    path.write_text(table)
    with pytest.raises(DataError, match=told):
        load_pseudo_labels(pseudo_params(maps, weak_labels=str(path)), 1, ["free0", "free1", "free2"])


def test_weak_labels_need_maps():
    with pytest.raises(ValueError, match="weak_labels bounds the maps of folder, which is null"):
        make_params(pseudo_labels={"weak_labels": "weak.csv"})


def test_unusable_folders_are_named(maps: Path, tmp_path: Path):
    with pytest.raises(ParameterError, match="nowhere is not a folder"):
        load_pseudo_labels(pseudo_params("nowhere"), 1, ["free0"])
    with pytest.raises(ParameterError, match="only field"):
        load_pseudo_labels(pseudo_params("x{other}"), 1, ["free0"])
    with pytest.raises(DataError, match="none of its 4 maps belongs"):
        load_pseudo_labels(pseudo_params(maps), 1, ["someone"])
    with pytest.raises(DataError, match="no map is sure"):
        load_pseudo_labels(pseudo_params(maps), 1, ["free2"])


@pytest.mark.slow
@pytest.mark.filterwarnings("default::UserWarning", "default::FutureWarning")
def test_pseudo_labels_join_the_pool(maps: Path, disks: Layout, tmp_path: Path):
    params = make_params(phase={"epochs": 1}, pseudo_labels={"folder": str(maps)})
    data = load(disks, params)
    assert len(data.manifest) == 14 + 2
    assert "image00" in set(data.manifest["image_id"])  # once, with its own mask
    assert data.digest != load(disks, make_params()).digest
    arrays = build_arrays(data, 96, tmp_path / "x")
    assert (arrays.mask("free0") == data.pseudo.mask("free0")).all()
    assert not arrays.mask("free1").any()
    summary = train(disks, tmp_path, params).summary
    assert (summary["n_pseudo_positive"], summary["n_pseudo_negative"], summary["n_pseudo_unsure"]) == (1, 1, 1)


def test_unlabelled_pool_has_no_patient_who_judges():
    """Patients A (validation), B (test) and C (training) have free images; so has an image without a patient."""
    rows = [("a1", "A"), ("a2", "A"), ("b1", "B"), ("b2", "B"), ("c1", "C"), ("c2", "C"), ("x", "")]
    described = pd.DataFrame(rows, columns=["image_id", "patient_id"]).assign(study_id="", sex="", age_years=None)
    table = pd.DataFrame({"image_id": ["a1", "b1", "c1"], "fold": ["0", "test", "1"]})
    everybody = find_patients(described, None).of_image
    assert unlabelled_pool(everybody, table, 0)["image_id"].tolist() == ["c2", "x"]
    assert unlabelled_pool(everybody, table, 1)["image_id"].tolist() == ["a2", "x"]
