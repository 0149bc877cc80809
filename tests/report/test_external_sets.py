"""External sets on the page and on the card: none, two, shared images, and damaged files."""

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pneumoseg.config import load_params
from pneumoseg.report.external_sets import card_limit, card_points, external_part
from pneumoseg.report.inputs import Inputs, read_inputs
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.files import write_json
from pneumoseg.shared.layout import Layout
from tests.report.report_inputs import HOSTILE, make_inputs, report, small_params

pytestmark = pytest.mark.slow

ZERO = {
    "images": 0,
    "by": {"id": 0, "pixels": 0, "similar": 0, "patient": 0},
    "with": {"training": 0, "other": 0, "test": 0},
}
LONG = "a_name_of_thirty_two_characters_"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    return make_inputs(tmp_path_factory.mktemp("inputs"), root)


@pytest.fixture
def folder(source: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(source, tmp_path / "inputs"))


def add_sites(folder: Path, **sites: dict[str, object]) -> Inputs:
    """Name sets in params.yaml, with the figures of the test set and what differs from them."""
    test = json.loads((folder / "metrics/test.json").read_text())
    for name, changes in sites.items():
        write_json(folder / f"metrics/external/{name}/figures.json", test | {"overlap": ZERO} | changes)
    values = load_params(folder / "params.yaml").written()
    values["evaluate"]["external"] = {name: {"root": f"/x/{name}", "annotations": f"{name}.csv"} for name in sites}
    (folder / "params.yaml").write_text(json.dumps(values))
    return read_inputs(Layout(folder), small_params(folder))


class Words(HTMLParser):
    """The text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.feed(text)

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_without_a_set_page_and_card_say_so(source: Path):
    inputs = read_inputs(Layout(source), small_params(source))
    section = external_part(inputs)
    assert section.drawings == ()
    assert section.tables == ()
    assert card_limit(inputs) in section.notes[0]
    assert list(card_points(inputs)) == []


def test_a_row_for_each_set_after_the_own_test_set(folder: Path):
    inputs = add_sites(
        folder,
        site_b={"phantom": 0, "n": 1204, "n_positive": 301, "prevalence": 0.25, "all_empty": 0.75,
                "auc": 0.91,
                "ppv": None,
                "notes": [{"code": "few_patients", "text": "few"}, {"code": "phantom", "text": "said by the label"}]},
        site_a={"n": 10},
    )  # fmt: skip
    section = external_part(inputs)
    rows = {row[0]: dict(zip(section.tables[0].columns[1:], row[1:], strict=True)) for row in section.tables[0].rows}
    assert list(rows) == ["own test set", "site_a (phantom data)", "site_b"]
    shown = rows["site_b"]
    assert (shown["images"], shown["with pneumothorax"]) == ("1,204", "301 (25.0\u00a0%)")
    assert shown["all-empty Dice (share of negatives)"] == "0.75"
    assert re.fullmatch(r"0\.91 \(\d\.\d\d to \d\.\d\d\)", shown["AUC of the image probability"])
    assert shown["positive predictive value"] == "no value"
    assert [row[0] for row in section.tables[1].rows] == list(rows)
    told = [note for note in section.notes if note.startswith("site_b")]
    assert told == ["site_b: few."]
    assert card_limit(inputs).startswith("Outside its own data the model was measured on 1 external set (site_b): how")
    points = list(card_points(inputs))
    assert points[0].startswith("site_a (phantom data), 10 images")
    assert "all-empty Dice (share of negatives) 0.750" in points[1]


def test_small_and_large_come_from_the_subgroups(folder: Path):
    groups = [
        {"by": "lesion_size", "group": "small", "n": 40, "positives": 40, "patients": 40,
         "auc": 0.88, "auc_interval": [0.85, 0.91], "dice_pos": 0.5,
         "dice_pos_interval": [0.4, 0.6], "sensitivity": 0.75, "sensitivity_interval": [0.7, 0.8]},
        {"by": "sex", "group": "large", "n": 7, "positives": 1, "patients": 7},
    ]  # fmt: skip
    size_test = {
        "auc_difference": 0.08,
        "auc_difference_interval": [0.04, 0.11],
        "dice_permutation_p": 0.005,
        "auc_permutation_p": 0.25,
    }
    inputs = add_sites(folder, a={"subgroups": groups, "size_test": size_test})
    section = external_part(inputs)
    shown = dict(zip(section.tables[1].columns, section.tables[1].rows[1], strict=True))
    assert shown == {
        "set": "a (phantom data)", "images, small": "40", "images, large": "0",
        "Dice, positives only, small": "0.50 (0.40 to 0.60)",
        "Dice, positives only, large": "—", "AUC, small": "0.88 (0.85 to 0.91)", "AUC, large": "—",
        "sensitivity, small": "0.75 (0.70 to 0.80)", "sensitivity, large": "—",
        "AUC, large - small": "0.08 (0.04 to 0.11)", "p of the AUC difference": "0.2500",
        "p of the Dice difference": "0.0050",
    }  # fmt: skip


def test_phantom_sets_say_nothing_of_other_hospitals(folder: Path):
    inputs = add_sites(folder, a={})
    assert card_limit(inputs).startswith("The external sets are phantoms")


def test_a_set_with_shared_images_has_a_row_without_them(folder: Path):
    overlap = ZERO | {"images": 3, "by": ZERO["by"] | {"similar": 3}}
    left = {"n": 9, "n_positive": 4, "n_patients": 9, "dice_all": 0.5, "all_empty": 0.6, "auc": 0.7, "intervals": {}}
    inputs = add_sites(
        folder, a={"overlap": overlap, "without_shared": left}, b={"overlap": overlap, "without_shared": {"n": 0}}
    )
    section = external_part(inputs)
    assert [row[0] for row in section.tables[0].rows] == [
        "own test set", "a (phantom data)", "a, not shared", "b (phantom data)"
    ]  # fmt: skip
    assert "its second row leaves those images out" in section.notes[1]
    points = list(card_points(inputs))
    assert points[1].startswith(
        "a shares the radiograph or the patient of 3 images with the project's own data; without them, 9 images (4 with"
    )
    assert points[3] == "b shares the radiograph or the patient of 3 images with the project's own data: all it has."


def test_long_names_keep_both_ends_in_the_charts(folder: Path):
    drawing, _ = external_part(add_sites(folder, **{LONG: {}})).drawings[0]
    assert f"{LONG[:12]}…{LONG[-8:]}" in str(drawing)


@pytest.mark.slow
def test_page_and_card_with_two_sets_and_hostile_text(folder: Path):
    add_sites(folder, **{"site_a": {"notes": [{"code": "other", "text": f"a note about {HOSTILE}"}]}, LONG: {}})
    page = report(folder)
    assert HOSTILE not in page
    assert f"site_a: a note about {HOSTILE}." in " ".join(Words(page).words)
    section = page[page.index('<section id="external">') : page.index('<section id="decision">')]
    assert section.count("<tr>") == 3 * (1 + 3)
    assert '<a href="#external">External sets</a>' in page
    card = (folder / "data/report/model_card.md").read_text()
    assert "## Measured on external sets" in card
    assert "one source" not in card


def test_figures_that_are_missing_or_incomplete_are_named(folder: Path):
    add_sites(folder, a={})
    shutil.copy(folder / "metrics/test.json", folder / "metrics/external/a/figures.json")
    with pytest.raises(DataError, match=r"a/figures\.json: no overlap; run dvc repro external_evaluate@a"):
        read_inputs(Layout(folder), small_params(folder))
    (folder / "metrics/external/a/figures.json").unlink()
    with pytest.raises(DataError, match=r"external/a/figures\.json: not there"):
        read_inputs(Layout(folder), small_params(folder))
