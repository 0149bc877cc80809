"""External sets: their files, figures against the stage evaluate and by hand, and images that are not external."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML

from pneumoseg.config import parse_params
from pneumoseg.config.data import DataParams, MoreParams
from pneumoseg.config.evaluate import EvaluateParams
from pneumoseg.evaluate.evaluating import evaluate
from pneumoseg.external.evaluation import CASES, evaluate_site
from pneumoseg.external.preparing import extract_more, extract_site
from pneumoseg.external.sites import find_source, named
from pneumoseg.predict.planning import Task, plan
from pneumoseg.rule.decision import DecisionRule
from pneumoseg.shared.errors import DataError, ParameterError
from pneumoseg.shared.files import read_json, read_png, write_json, write_png
from pneumoseg.shared.layout import Layout
from pneumoseg.shared.tables import ANNOTATIONS, FOLDS, METADATA, PREDICTED, read_table, write_table
from pneumoseg.split.overlap import find_shared
from pneumoseg.split.similarity import SIMILAR, find_similar, picture
from tests.evaluate.evaluation_data import copy_of, make_project
from tests.radiographs.dicom_files import dataset, extract_params, save

pytestmark = pytest.mark.slow

SHIPPED = YAML(typ="safe").load(Path(__file__).resolve().parents[2] / "params.yaml")
EVALUATE = EvaluateParams.model_validate_json(json.dumps(SHIPPED["evaluate"])).model_copy(
    update={"bootstrap_replicates": 200, "permutations": 200}
)
MASKS = parse_params(SHIPPED).masks
RULE = DecisionRule("single", 0.5)


# Parameters --------------------------------------------------------------------------------------------------------


def with_sites(sites: Any) -> Any:
    return SHIPPED | {"evaluate": SHIPPED["evaluate"] | {"external": sites}}


def test_sets_are_named_folders_and_tables():
    params = parse_params(with_sites({"site-b_2": {"root": "/b", "annotations": "b.csv"}}))
    assert find_source(params.evaluate.external, "site-b_2") == DataParams(root="/b", annotations="b.csv")
    with pytest.raises(ParameterError, match=r"--site c: evaluate\.external has no such set; it has site-b_2"):
        find_source(params.evaluate.external, "c")


@pytest.mark.parametrize(
    ("sites", "message"),
    [
        (
            {"Site A": {"root": "a", "annotations": "a.csv"}},
            r"evaluate\.external = .*'Site A' cannot be the name of a set",
        ),
        ({"a" * 33: {"root": "a", "annotations": "a.csv"}}, r"1 to 32 characters"),
        ({"-a": {"root": "a", "annotations": "a.csv"}}, r"'-a' cannot be the name"),
        ({"../a": {"root": "a", "annotations": "a.csv"}}, r"cannot be the name"),
        ({"a": {"root": "a", "annotations": None}}, r"evaluate\.external\.a\.annotations = null"),
        ({"a": {"root": "a"}}, r"evaluate\.external\.a\.annotations is missing"),
        (
            {"a": {"root": "data/masks", "annotations": "a.csv"}},
            r"evaluate\.external\.a\.root .*results of the pipeline",
        ),
        (
            {"a": {"root": "data/./external/a", "annotations": "a.csv"}},
            r"evaluate\.external\.a\.root .*results of the pipeline",
        ),
        (
            {"a": {"root": "a", "annotations": "data/./external/a.csv"}},
            r"a\.annotations = data/\./external/a\.csv: .*such as data/a\.csv",
        ),
        (None, r"evaluate\.external = null"),
    ],
)
def test_impossible_sets_are_refused(sites: Any, message: str):
    with pytest.raises(ParameterError, match=message):
        parse_params(with_sites(sites))


# Extraction --------------------------------------------------------------------------------------------------------


def radiograph(seed: int, side: int = 96) -> np.ndarray:
    """Blurred noise, (side, side) uint8: no two seeds are alike."""
    noise = np.random.default_rng(seed).normal(size=(side, side)).astype(np.float32)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), side / 16), None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


def write_pool(folder: Path, images: dict[str, np.ndarray]) -> Layout:
    """data/images and data/metadata.csv of a project that has these images; gives its set a."""
    site = Layout(folder, "a")
    for image_id, image in images.items():
        write_png(site.main.images / f"{image_id}.png", image)
    write_table(site.main.metadata, pd.DataFrame({"image_id": sorted(images)}), METADATA)
    return site


def write_source(folder: Path, images: dict[str, np.ndarray], rows: str, **attributes: Any) -> DataParams:
    for image_id, image in images.items():
        save(folder / f"dicom/{image_id}.dcm", dataset(image, image_id=image_id, **attributes))
    (folder / "rle.csv").write_text(f"ImageId,EncodedPixels\n{rows}")
    return DataParams(root=str(folder / "dicom"), annotations=str(folder / "rle.csv"))


def run_extract(site: Layout, source: DataParams, workers: int = 0) -> None:
    extract_site(site, source, extract_params(), MASKS, workers)


@pytest.mark.parametrize("shelf", ["external", "more"])
def test_a_set_that_fails_leaves_nothing_but_what_its_message_names(tmp_path: Path, shelf: str):
    main = write_pool(tmp_path / "own", {"x": radiograph(10)}).main
    site = Layout(main.root, "a", shelf)
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.dcm").write_text("junk")
    source = MoreParams(root=str(tmp_path / "in"), annotations="none.csv")
    run = extract_more if shelf == "more" else extract_site
    with pytest.raises(DataError, match=r"a\.root = .* See (\S+)") as error:
        run(site, source, extract_params(), MASKS, 0)
    rejected = Path(str(error.value).rpartition(" ")[2])
    assert "no DICOM file" in rejected.read_text()
    left = {path.relative_to(main.root).parts[1] for path in main.root.rglob("*") if path.is_file()}
    assert left == {"failed", "images", "metadata.csv"}  # the last two are the main set's
    assert not site.data.exists()
    assert not site.metrics.exists()


def test_a_set_is_one_output_of_dvc(root: Path):
    """For each cached output of a new set DVC says that it has no hash of it."""
    stages = YAML(typ="safe").load(root / "dvc.yaml")["stages"]
    for stage in (entry["do"] for entry in stages.values() if "foreach" in entry):
        assert sum(isinstance(out, str) for out in stage["outs"]) <= 1, stage["desc"]


def test_a_set_becomes_images_masks_and_test_rows(tmp_path: Path):
    images = {f"1.2.{index}": radiograph(index) for index in range(4)}
    # Column-major, offsets from the end of the run before: 3 px from row 5 of column 2, then 2 px one row further down.
    source = write_source(tmp_path / "in", images, f"1.2.0,{2 * 96 + 5} 3 1 2\n1.2.1, -1\n1.2.2,-1\n")
    site = write_pool(tmp_path / "own", {"x": radiograph(10), "y": radiograph(1, side=50)})
    run_extract(site, source)
    mask = read_png(site.masks / "1.2.0.png")
    assert np.argwhere(mask).tolist() == [[5, 2], [6, 2], [7, 2], [9, 2], [10, 2]]
    assert sorted(path.name for path in site.masks.iterdir()) == ["1.2.0.png"]
    folds = read_table(site.folds, FOLDS)
    assert folds[["image_id", "fold"]].to_numpy().tolist() == [["1.2.0", "test"], ["1.2.1", "test"], ["1.2.2", "test"]]
    assert folds["patient"].nunique() == 1  # all files are of patient P1
    assert len(folds["patient"][0]) == 16
    assert read_json(site.extract_counts)["extracted"] == 4
    assert read_json(site.masks_counts)["matched"]["images"] == 3
    assert read_table(site.similar, SIMILAR).empty
    written = {path.name for path in site.data.iterdir()}
    assert written == {
        "images", "lungs", "masks", "metadata.csv", "annotations.csv", "rejected.csv", "rejected_annotations.csv",
        "folds.csv", "similar.csv",
    }  # fmt: skip


@pytest.mark.slow
def test_no_number_of_workers_changes_a_file(tmp_path: Path):
    images = {f"1.2.{index}": radiograph(index) for index in range(5)}
    source = write_source(tmp_path / "in", images, "".join(f"1.2.{index},-1\n" for index in range(5)))
    own = {"x": radiograph(2), "y": radiograph(11)}
    first, second = (write_pool(tmp_path / name, own) for name in ("first", "second"))
    run_extract(first, source, 0)
    run_extract(second, source, 2)

    def contents(site: Layout) -> dict[str, bytes]:
        files = [path for folder in (site.data, site.metrics) for path in folder.rglob("*") if path.is_file()]
        return {path.name: path.read_bytes() for path in files}

    assert contents(first) == contents(second)
    assert read_table(first.similar, SIMILAR).to_numpy().tolist() == [["1.2.2", "x", 1.0]]


def test_messages_name_the_parameters_of_the_set(tmp_path: Path):
    site = write_pool(tmp_path / "own", {"x": radiograph(10)})
    images = {"1.2.0": radiograph(0)}
    source = write_source(tmp_path / "in", images, "9.9.9,-1\n")
    with pytest.raises(
        DataError, match=r"evaluate\.external\.a\.annotations must belong to evaluate\.external\.a\.root"
    ):
        run_extract(site, source)
    with pytest.raises(DataError, match=r"evaluate\.external\.a\.root = .*no such folder"):
        run_extract(site, DataParams(root=str(tmp_path / "gone"), annotations="x.csv"))
    with pytest.raises(DataError, match=r"^external set a: .*rle\.csv.*no such file"), named("a"):
        raise DataError(f"{tmp_path}/rle.csv: no such file")


def test_a_set_without_a_usable_annotation_is_refused(tmp_path: Path):
    site = write_pool(tmp_path / "own", {"x": radiograph(10)})
    images = {f"1.2.{index}": radiograph(index) for index in range(2)}
    source = write_source(tmp_path / "in", images, "1.2.0,5\n" + "9.9.9,-1\n" * 40)  # an odd number of numbers
    with pytest.raises(
        DataError, match=r"external set a: none of its 2 images is annotated \(1 have a row in .*rle\.csv"
    ):
        run_extract(site, source)


# Likeness ----------------------------------------------------------------------------------------------------------


def copies(image: np.ndarray) -> dict[str, np.ndarray]:
    """The same radiograph as another archive may hold it."""
    jpeg = cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 50])[1], cv2.IMREAD_GRAYSCALE)
    half = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    low, high = np.percentile(image, [1, 99])
    stretched = np.clip((image - low) / (high - low) * 65535, 0, 65535).astype(np.uint16)
    return {"jpeg": jpeg, "half": half, "stretched": stretched}


def test_copies_are_known_whatever_their_name_size_and_encoding(tmp_path: Path):
    for index in range(6):
        write_png(tmp_path / f"theirs/{index}.png", radiograph(index, side=256))
    for name, image in copies(radiograph(3, side=256)).items():
        write_png(tmp_path / f"mine/{name}.png", image)
    write_png(tmp_path / "mine/other.png", radiograph(7, side=256))
    write_png(tmp_path / "mine/uniform.png", np.full((64, 64), 90, np.uint8))
    write_png(tmp_path / "theirs/uniform.png", np.full((64, 64), 90, np.uint8))
    mine, theirs = (sorted(path.stem for path in (tmp_path / name).iterdir()) for name in ("mine", "theirs"))
    found = find_similar(tmp_path / "mine", mine, tmp_path / "theirs", theirs, 2)
    assert found["image_id"].tolist() == ["half", "jpeg", "stretched"]
    assert set(found["other_image_id"]) == {"3"}
    assert (found["correlation"] > 0.995).all()


def test_the_correlation_is_that_of_numpy():
    first, second = radiograph(1), radiograph(2)
    small = [cv2.resize(image.astype(np.float64), (64, 64), interpolation=cv2.INTER_AREA) for image in (first, second)]
    expected = np.corrcoef(small[0].ravel(), small[1].ravel())[0, 1]
    assert float(picture(first) @ picture(second)) == pytest.approx(expected, abs=1e-5)
    assert not picture(np.full((30, 40), 7, np.uint8)).any()


@pytest.mark.real
@pytest.mark.slow
def test_real_radiographs_are_like_their_copies_and_nothing_else(real: Path, tmp_path: Path):
    import pydicom

    files = sorted((real / "siim-sample").rglob("*.dcm"))
    images = {str(index): pydicom.dcmread(path, force=True).pixel_array for index, path in enumerate(files)}
    for name, image in images.items():
        write_png(tmp_path / f"own/{name}.png", image)
        for kind, copy in copies(image).items():
            write_png(tmp_path / f"set/{name}-{kind}.png", copy)
    names = sorted(path.stem for path in (tmp_path / "set").iterdir())
    found = find_similar(tmp_path / "set", names, tmp_path / "own", list(images), 2)
    expected = {(name, name.split("-")[0]) for name in names}
    assert set(zip(found["image_id"], found["other_image_id"], strict=True)) == expected


# Overlap -----------------------------------------------------------------------------------------------------------


def overlap_tables(tmp_path: Path) -> Layout:
    """Own images: t of training, v of validation, e tested, u without annotation; a patient id and pixels each."""
    own = pd.DataFrame(
        {
            "image_id": ["t", "v", "e", "u"],
            "patient_id": ["p-t", "p-v", "p-e", ""],
            "phantom": [0, 0, 0, 0],
            "pixels_sha256": ["h-t", "h-v", "h-e", "h-u"],
        }
    )
    site = Layout(tmp_path, "a")
    write_table(site.main.metadata, own, METADATA)
    folds = pd.DataFrame({"image_id": ["t", "v", "e"], "patient": ["p-t", "p-v", "p-e"], "fold": ["1", "0", "test"]})
    write_table(site.main.folds, folds, FOLDS)
    # image id, patient, phantom, pixels
    rows = [
        ("t", "", 0, "x1"),  # the same id as a training image
        ("a-validation", "", 0, "h-v"),  # the same pixels as a validation image
        ("b-tested", "", 0, "h-e"),
        ("c-unlabelled", "", 0, "h-u"),
        ("d-similar", "p-e", 0, "x2"),  # like a training image, and of a test patient
        ("e-patient", "p-t", 0, "x3"),
        ("f-phantom", "p-t", 1, "x4"),  # the numbers of phantoms mean nothing
        ("g-stranger", "", 0, "x5"),  # no patient id: as unknown as u, not the same
        ("h-unannotated", "", 0, "h-t"),
    ]
    table = pd.DataFrame(rows, columns=["image_id", "patient_id", "phantom", "pixels_sha256"])
    write_table(site.metadata, table, METADATA)
    annotated = [row[0] for row in rows if row[0] != "h-unannotated"]
    write_table(site.folds, pd.DataFrame({"image_id": annotated, "patient": "", "fold": "test"}), FOLDS)
    similar = [("d-similar", "t", 0.999), ("a-validation", "v", 1.0), ("b-tested", "gone", 1.0)]
    write_table(site.similar, pd.DataFrame(similar, columns=list(SIMILAR)), SIMILAR)
    return site


def test_shared_images_by_their_gravest_part_and_surest_reason(tmp_path: Path):
    assert find_shared(overlap_tables(tmp_path)).to_numpy().tolist() == [
        ["a-validation", "pixels", "training"],
        ["b-tested", "pixels", "test"],
        ["c-unlabelled", "pixels", "other"],
        ["d-similar", "similar", "training"],
        ["e-patient", "patient", "training"],
        ["t", "id", "training"],
    ]


def test_names_of_nih_tell_images_and_patients_by_the_map(tmp_path: Path):
    """SIIM-ACR is a part of NIH ChestX-ray14 under other ids, whose patients have further radiographs there."""
    site = overlap_tables(tmp_path)
    names = {"00000007_001": "the same as t", "00000007_002": "t's patient", "00000008_000": "e's", "00000009_000": ""}
    table = pd.DataFrame({"image_id": list(names), "patient_id": "hash", "phantom": 0, "pixels_sha256": list(names)})
    write_table(site.metadata, table.assign(patient_id=list("abcd")), METADATA)
    write_table(site.folds, table[["image_id"]].assign(patient="", fold="test"), FOLDS)
    write_table(site.similar, pd.DataFrame(columns=list(SIMILAR)), SIMILAR)
    assert find_shared(site).empty
    (tmp_path / "map.csv").write_text("t,00000007_001.png\ne,00000008\n")
    assert find_shared(site, (), tmp_path / "map.csv").to_numpy().tolist() == [
        ["00000007_001", "map", "training"],
        ["00000007_002", "patient", "training"],
        ["00000008_000", "patient", "test"],
    ]


# Figures -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    project = make_project(tmp_path_factory.mktemp("own"), images=80, seed=1)
    write_json(project.thresholds, {"rule": RULE.to_json()})
    return project


def site_of(project: Layout, main: Layout, prefix: str = "s-") -> Layout:
    """The test images of a project as an external set of another one, under other ids."""
    site = main.external("a")
    folds = read_table(project.folds, FOLDS)
    tested = folds[folds["fold"] == "test"]
    ids = set(tested["image_id"])
    for source, target, columns in (
        (project.metadata, site.metadata, METADATA),
        (project.annotations, site.annotations, ANNOTATIONS),
        (project.predictions / "images.csv", site.predictions / "images.csv", PREDICTED),
    ):
        frame = read_table(source, columns)
        frame = frame[frame["image_id"].isin(ids)]
        write_table(target, frame.assign(image_id=prefix + frame["image_id"]), columns)
    write_table(site.folds, tested.assign(image_id=prefix + tested["image_id"]), FOLDS)
    write_table(site.similar, pd.DataFrame(columns=list(SIMILAR)), SIMILAR)
    site.masks.mkdir(parents=True, exist_ok=True)
    for image_id in ids:
        maps = [(project.predictions / "test", site.predictions / "test"), (project.masks, site.masks)]
        for source, target in maps:
            target.mkdir(parents=True, exist_ok=True)
            if (source / f"{image_id}.png").is_file():
                shutil.copy(source / f"{image_id}.png", target / f"{prefix}{image_id}.png")
    return site


def digests(*folders: Path) -> dict[Path, str]:
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def as_one_project(project: Layout, site: Layout, root: Path) -> Layout:
    """Validation images of one project and the set as its test images, as the stage evaluate would find them."""
    merged = copy_of(project, root)
    predicted = read_table(project.predictions / "images.csv", PREDICTED)
    folds = read_table(project.folds, FOLDS)
    tables = (
        (merged.metadata, site.metadata, read_table(project.metadata, METADATA), METADATA),
        (merged.annotations, site.annotations, read_table(project.annotations, ANNOTATIONS), ANNOTATIONS),
        (merged.folds, site.folds, folds[folds["fold"] != "test"], FOLDS),
        (
            merged.predictions / "images.csv", site.predictions / "images.csv", predicted[predicted["set"] != "test"],
            PREDICTED,
        ),
    )  # fmt: skip
    for target, source, frame, columns in tables:
        write_table(target, pd.concat([frame, read_table(source, columns)]), columns)
    shutil.copytree(site.predictions / "test", merged.predictions / "test", dirs_exist_ok=True)
    shutil.copytree(site.masks, merged.masks, dirs_exist_ok=True)
    return merged


@pytest.mark.slow
def test_figures_are_those_of_the_stage_evaluate_and_own_files_stay(own: Layout, tmp_path: Path):
    main = copy_of(own, tmp_path / "main")
    site = site_of(make_project(tmp_path / "elsewhere", images=120, seed=2, skill=0.5), main)
    before = digests(own.root)
    evaluate_site(site, EVALUATE)
    assert before.items() == digests(own.root).items()
    assert {path for path in digests(main.root) if not any(part.startswith("external") for part in path.parts)} == {
        main.root / path.relative_to(own.root) for path in before
    }
    merged = as_one_project(own, site, tmp_path / "merged")
    evaluate(merged, EVALUATE, workers=1)
    found, expected = read_json(site.test), read_json(merged.test)
    assert found.pop("overlap") == {
        "images": 0,
        "by": {"id": 0, "map": 0, "pixels": 0, "similar": 0, "patient": 0},
        "with": {"training": 0, "other": 0, "test": 0},
    }
    assert "without_shared" not in found
    said = [note | {"text": note["text"].replace("test", "external")} for note in expected.pop("notes")]
    assert said == found.pop("notes")
    assert found == expected
    assert found["calibration"]["temperature"] is not None
    cases = pd.read_csv(site.test_cases, keep_default_na=False, dtype=str)
    assert list(cases.columns) == list(CASES)
    assert (cases[["shared_by", "shared_with"]] == "").all(axis=None)
    own_cases = pd.read_csv(merged.test_cases, keep_default_na=False, dtype=str)
    pd.testing.assert_frame_equal(cases.drop(columns=["shared_by", "shared_with"]), own_cases)


def test_the_rule_is_that_of_the_thresholds_and_nothing_else(own: Layout, tmp_path: Path):
    """A rule that is bad on the set stays, and the set's own content never reaches the rule or the temperature."""
    results = {}
    for name, threshold, seed in (("low", 0.1, 2), ("high", 0.95, 2), ("other", 0.1, 3)):
        main = copy_of(own, tmp_path / name)
        write_json(main.thresholds, {"rule": DecisionRule("single", threshold).to_json()})
        results[name] = evaluate_site(
            site_of(make_project(tmp_path / f"{name}-set", images=60, seed=seed), main), EVALUATE
        )
    assert results["low"].rule == results["other"].rule != results["high"].rule
    assert results["low"].figure("sensitivity").value > results["high"].figure("sensitivity").value
    assert len({result.calibration.temperature for result in results.values()}) == 1


def hand_made(root: Path, shared: str = "x") -> Layout:
    """Four images of 32 x 32; the first lesion is half found, the second missed, one negative is marked."""
    site = Layout(root, "a")
    truth = {"a": 8, "b": 4, "c": 0, "d": 0}  # pixels of row 10, from column 0
    marked = {"a": slice(4, 12), "b": slice(0, 0), "c": slice(0, 0), "d": slice(20, 23)}
    for image_id, pixels in truth.items():
        mask, levels = np.zeros((32, 32), np.uint8), np.full((32, 32), 10, np.uint8)
        mask[10, :pixels] = 255
        levels[10, marked[image_id]] = 200
        if pixels:
            write_png(site.masks / f"{image_id}.png", mask)
        write_png(site.predictions / f"test/{image_id}.png", levels)
    ids = list(truth)
    described = {"image_id": ids, "patient_id": ids, "rows": 32, "columns": 32, "phantom": 1}
    write_table(site.metadata, pd.DataFrame(described), METADATA)
    annotated = {"image_id": ids, "annotated": 1, "pneumothorax": [1, 1, 0, 0], "mask_known": 1}
    write_table(site.annotations, pd.DataFrame(annotated), ANNOTATIONS)
    write_table(site.folds, pd.DataFrame({"image_id": ids, "patient": ids, "fold": "test"}), FOLDS)
    predicted = {"image_id": ids, "set": "test", "fold": "test", "probability": [0.9, 0.2, 0.1, 0.8]}
    write_table(site.predictions / "images.csv", pd.DataFrame(predicted), PREDICTED)
    write_table(site.similar, pd.DataFrame(columns=list(SIMILAR)), SIMILAR)
    write_table(site.main.metadata, pd.DataFrame({"image_id": [shared], "phantom": 1}), METADATA)
    write_table(site.main.folds, pd.DataFrame({"image_id": [shared], "patient": "p", "fold": "1"}), FOLDS)
    write_json(site.main.thresholds, {"rule": RULE.to_json()})
    return site


NO_TEMPERATURE = EVALUATE.model_copy(update={"temperature_scaling": False})


def test_figures_by_hand(tmp_path: Path):
    site = hand_made(tmp_path)
    evaluate_site(site, NO_TEMPERATURE)
    content = read_json(site.test)
    expected = {
        "n": 4, "n_positive": 2, "n_patients": 4, "phantom": 1, "prevalence": 0.5, "all_empty": 0.5,
        "dice_all": (0.5 + 0 + 1 + 0) / 4, "dice_pos": 0.25, "sensitivity": 0.5, "specificity": 0.5, "ppv": 0.5,
        "npv": 0.5, "auc": 0.75,  # of four pairs only (b, d) is ranked wrongly
    }  # fmt: skip
    assert {name: content[name] for name in expected} == pytest.approx(expected)
    assert content["notes"][0]["code"] == "phantom"


def test_a_set_of_labels_alone_has_rates_and_no_dice_of_positives(tmp_path: Path):
    site = hand_made(tmp_path)
    with_masks = evaluate_site(site, NO_TEMPERATURE)
    shutil.rmtree(site.masks)
    annotations = read_table(site.annotations, ANNOTATIONS)
    write_table(site.annotations, annotations.assign(mask_known=1 - annotations["pneumothorax"]), ANNOTATIONS)
    result = evaluate_site(site, NO_TEMPERATURE)
    for name in ("auc", "sensitivity", "specificity", "ppv"):
        assert result.figure(name) == with_masks.figure(name)
        assert result.figure(name).value is not None
    assert result.figure("dice_pos").value is result.figure("dice_all").value is None
    assert "no external image with pneumothorax has a known mask" in " ".join(note.text for note in result.notes)
    assert (result.n, result.n_mask_known) == (4, 2)


def test_a_set_without_labels_is_only_predicted(tmp_path: Path):
    site = hand_made(tmp_path)
    write_table(site.folds, read_table(site.folds, FOLDS)[:0], FOLDS)
    assert plan(site, [0]) == [Task("unlabelled", "", ("a", "b", "c", "d"))]
    (site.predictions / "test").rename(site.predictions / "unlabelled")
    images = read_table(site.predictions / "images.csv", PREDICTED)
    write_table(site.predictions / "images.csv", images.assign(set="unlabelled", fold=""), PREDICTED)
    result = evaluate_site(site, NO_TEMPERATURE)
    assert (result.n, result.codes()) == (0, {"no_labels"})
    assert "2 of 4 images are called positive" in result.notes[0].text
    cases = read_table(site.test_cases, CASES).set_index("image_id")
    assert cases["called"].tolist() == [1, 0, 0, 1]
    assert cases["predicted_px"].tolist() == [8, 0, 0, 3]
    assert cases[["pneumothorax", "dice"]].isna().all(axis=None)


def test_shared_images_are_counted_told_and_left_out_beside(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    site = hand_made(tmp_path, shared="d")
    evaluate_site(site, NO_TEMPERATURE)
    content = read_json(site.test)
    assert content["n"] == 4
    assert content["overlap"] == {
        "images": 1,
        "by": {"id": 1, "map": 0, "pixels": 0, "similar": 0, "patient": 0},
        "with": {"training": 1, "other": 0, "test": 0},
    }
    left = content["without_shared"]
    assert {name: left[name] for name in ("n", "n_positive", "dice_all", "specificity")} == {
        "n": 3, "n_positive": 2, "dice_all": 0.5, "specificity": 1.0,
    }  # fmt: skip
    assert left["all_empty"] == pytest.approx(1 / 3, abs=1e-6)
    assert left["intervals"].keys() == left.keys() - {"n", "n_positive", "n_patients", "intervals"}
    assert content["notes"][0]["code"] == "shared"
    assert content["notes"][0]["text"].startswith(
        "1 of 4 images share their radiograph or patient with data.root (1 by id; 1 of"
    )
    assert "external set a: 1 of 4 images share" in caplog.text
    cases = pd.read_csv(site.test_cases, keep_default_na=False)
    shared = dict(zip(cases["image_id"], cases["shared_with"], strict=True))
    assert shared == {"a": "", "b": "", "c": "", "d": "training"}


def test_a_set_that_is_wholly_shared_has_nothing_left(tmp_path: Path):
    site = hand_made(tmp_path)
    shutil.copy(site.metadata, site.main.metadata)
    shutil.copy(site.folds, site.main.folds)
    result = evaluate_site(site, NO_TEMPERATURE)
    assert (result.without_shared.n, result.without_shared.figures) == (0, {})
    assert result.overlap.parts == {"training": 0, "other": 0, "test": 4}
    assert "none in training" in result.notes[0].text


def test_an_image_without_prediction_is_not_left_out_of_the_mean(tmp_path: Path):
    site = hand_made(tmp_path)
    predicted = read_table(site.predictions / "images.csv", PREDICTED)
    write_table(site.predictions / "images.csv", predicted[predicted["image_id"] != "b"], PREDICTED)
    with pytest.raises(DataError, match="b is missing"):
        evaluate_site(site, NO_TEMPERATURE)
