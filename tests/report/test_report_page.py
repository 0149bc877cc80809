"""The report as a whole: complete, honest about its figures, escaped, the same bytes everywhere."""

import base64
import hashlib
import html
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from pneumoseg.config import load_params
from pneumoseg.drawing.plotting import palette_css
from pneumoseg.evaluate.metric import Metric, column, mean_of
from pneumoseg.report.headline import judge
from pneumoseg.report.inputs import read_inputs
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.layout import Layout
from pneumoseg.shared.registry import METRICS
from tests.drawing.phone import smallest_text_px
from tests.report.report_inputs import HOSTILE, edit_json, make_inputs, report, small_params

pytestmark = pytest.mark.slow

TEMPLATES = Path(__file__).resolve().parents[2] / "src/pneumoseg/report/templates"


@pytest.fixture(scope="module")
def source(tmp_path_factory, root):
    return make_inputs(tmp_path_factory.mktemp("inputs"), root)


@pytest.fixture
def inputs(source, tmp_path):
    return shutil.copytree(source, tmp_path / "inputs")


@pytest.fixture(scope="module")
def page(source):
    return report(source)


class Elements(HTMLParser):
    """Tags and attributes of a page, and the text a reader sees."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.words = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def values(self, name):
        return [value for _, key, value in self.attributes if key == name]


def test_every_file_of_the_page_is_in_the_folder_and_none_elsewhere(source, page):
    folder = source / "data/report"
    elements = Elements(page)
    links = [link for link in elements.values("src") + elements.values("href") if link != "data:,"]
    layers = [value for _, name, value in elements.attributes if name.startswith("data-") and "/" in (value or "")]
    local = {link for link in links + layers if not link.startswith("#")}
    assert len(local) > 30
    assert all((folder / link).is_file() for link in local)
    anchors = {link[1:] for link in links if link.startswith("#") and not link.startswith("#case-")}
    assert anchors <= set(elements.values("id"))
    written = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert written == local | {"index.html"}
    for text in (
        re.sub(r"sha256-[^&']+", "", page),
        (TEMPLATES / "style.css").read_text(),
        (TEMPLATES / "report.js").read_text(),
    ):
        assert "//" not in re.sub(r"^\s*//.*$|/\* .* \*/", "", text, flags=re.MULTILINE)
        assert "@import" not in text


def test_the_policy_forbids_every_connection_and_allows_our_script_only(page):
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page).group(1)
    assert policy.startswith("default-src 'none'")
    script = re.search(r"<script>(.*?)</script>", page, flags=re.DOTALL).group(1)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in html.unescape(policy)


def test_the_same_inputs_give_the_same_bytes_wherever_they_lie(source, inputs, page):
    report(inputs)
    first, second = source / "data/report", inputs / "data/report"
    names = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(second) for path in second.rglob("*") if path.is_file())
    for name in names:
        content = (first / name).read_bytes()
        assert content == (second / name).read_bytes(), name
        assert str(source).encode() not in content
        assert str(inputs).encode() not in content


def test_phantoms_are_marked_at_the_top_and_on_every_gallery(source, page):
    text = Elements(page).text
    assert (
        text.index("Phantom data: all 23 radiographs were made by software.") < text.index("Skip to the result") + 200
    )
    galleries = re.findall(r"<h3>([^<]+)", page[page.index('id="cases"') : page.index('id="subgroups"')])
    badges = re.findall(r'<h3>[^<]+<span class="badge">phantom data</span>', page)
    assert len(galleries) == len(badges) == 10
    assert "Phantom data" in (source / "data/report/model_card.md").read_text()


def test_an_all_empty_score_stands_beside_every_dice(page):
    tiles = re.findall(r'<span class="name">(Dice[^<]*)</span>.*?</li>', page, flags=re.DOTALL)
    assert len(tiles) == page.count('<span class="beside">all-empty ') == 2
    assert "all-empty Dice over all images" in page


def test_text_of_the_figures_can_be_read_on_a_phone(source, page):
    assert page
    figures = sorted((Layout(source).report / "plots").glob("*.svg"))
    assert figures
    assert {path.name: smallest_text_px(path) for path in figures if smallest_text_px(path) < 9} == {}


def test_every_section_is_there_and_none_is_empty(page):
    sections = re.findall(r'<section id="([^"]+)">\n<h2>(.*?)</section>', page, flags=re.DOTALL)
    links = re.findall(r'<li><a href="#([^"]+)">', page)
    assert [name for name, _ in sections] == links
    assert all(len(Elements(content).text) > 60 for name, content in sections if name != "exploration")
    assert page.count("<figure") > 10


@pytest.mark.parametrize(
    ("difference", "interval", "kind"),
    [
        (-0.02, [-0.05, 0.01], "bad"),
        (0.0, [0.0, 0.0], "bad"),
        (0.02, [-0.01, 0.05], "open"),
        (0.02, [None, None], "open"),
        (0.1, [0.05, 0.15], "good"),
    ],
)
def test_the_judgement_is_plain(inputs, difference, interval, kind):
    margin = {"difference": difference, "interval": interval, "verdict": "unknown"}
    edit_json(inputs / "metrics/test.json", dice_all=0.8, all_empty=0.78, beats_all_empty=margin)
    first = judge(read_inputs(Layout(inputs), small_params(inputs)))
    assert first.kind == kind
    assert "0.800" in first.sentences[0]
    assert "0.780" in first.sentences[0]


def test_the_first_sentence_counts_images(inputs):
    cases = pd.read_csv(inputs / "metrics/test_cases.csv")
    called, positive = cases["called"] == 1, cases["pneumothorax"] == 1
    first = judge(read_inputs(Layout(inputs), small_params(inputs))).sentences[0]
    assert f"Found {(called & positive).sum()} of {positive.sum()} test images with pneumothorax" in first
    assert f"marked {(called & ~positive).sum()} of {(~positive).sum()} without: Dice" in first


@pytest.mark.parametrize(
    ("difference", "interval", "words"),
    [
        (0.1, [0.02, 0.2], "rule beats a plain"),
        (0.1, [-0.02, 0.2], "is not shown to beat a plain"),
        (-0.1, [-0.2, 0.2], "does not beat a plain"),
    ],
)
def test_tuning_is_judged_against_the_plain_threshold(inputs, difference, interval, words):
    margin = {"difference": difference, "interval": interval, "verdict": "unknown"}
    edit_json(inputs / "metrics/test.json", beats_plain_05=margin)
    assert report(inputs).count(words) == 3  # result, decision rule, model card


def empty_all(inputs):
    """No pixel of any test image is marked."""
    path = inputs / "metrics/test_cases.csv"
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    frame["predicted_px"], frame["intersection_px"], frame["called"] = "0", "0", "0"
    frame["dice"] = (frame["truth_px"] == "0").astype(int).astype(str)
    frame.to_csv(path, index=False)
    rule = {"kind": "single", "mask_threshold": 0.99, "levels": [], "gate_probability": None,
            "min_component_px_at_1024": 0, "fill_holes": False}  # fmt: skip
    edit_json(inputs / "metrics/thresholds.json", rule=rule)


def test_an_empty_prediction_is_called_one(inputs):
    empty_all(inputs)
    text = Elements(report(inputs)).text
    assert "Does not beat an all-empty prediction: it is one." in text
    assert "No pixel marked in 7 of 7 pneumothoraces" in text


def test_a_data_set_without_positives_or_attributes_says_so(tmp_path, root):
    folder = make_inputs(tmp_path, root, phantom=0, positives=False, known=False)
    text = Elements(report(folder)).text
    assert "The test set has no pneumothorax" in text
    assert "No test image records sex: nothing can be said of it." in text
    assert "23 radiographs; none is marked as synthetic." in text
    assert "view not recorded · sex not recorded · age not recorded" in text
    assert "phantom" not in text.lower().replace("phantom.", "")[: text.index("Configuration")]
    assert "nan" not in re.findall(r"[a-z]+", text)
    assert "None" not in text


def test_everything_from_files_is_escaped(inputs):
    values = load_params(inputs / "params.yaml").written()
    values["data"]["root"] = HOSTILE
    (inputs / "params.yaml").write_text(json.dumps(values))
    metadata = pd.read_csv(inputs / "data/metadata.csv", dtype=str, keep_default_na=False)
    metadata["sex"], metadata["view_position"] = HOSTILE, HOSTILE
    metadata.to_csv(inputs / "data/metadata.csv", index=False)
    group = {"by": HOSTILE, "group": HOSTILE, "n": 3, "positives": 1, "patients": 1,
             "dice_pos": 0.5, "dice_pos_interval": [0.1, 0.9]}  # fmt: skip
    edit_json(inputs / "metrics/test.json", notes=[{"code": "other", "text": HOSTILE}], subgroups=[group])
    searched = {"family": HOSTILE, "chosen": True, "rules": 1, "best": HOSTILE,
                "objective_cross_fitted": 0.5, "objective_optimistic": 0.5}  # fmt: skip
    edit_json(inputs / "metrics/thresholds.json", warnings=[HOSTILE], searched=[searched])
    edit_json(inputs / "metrics/extract.json", flags={HOSTILE: 1})
    edit_json(inputs / "metrics/train/fold0.json", selection_metric=HOSTILE)
    edit_json(inputs / "data/models/fold0/run.json", train_key=HOSTILE, data=HOSTILE)
    (inputs / "metrics/plots" / f"{HOSTILE.replace('/', '')}.svg").write_bytes(
        (inputs / "metrics/plots/roc.svg").read_bytes()
    )
    page = report(inputs)
    elements = Elements(page)
    assert elements.tags.count("script") == 1
    assert not [name for _, name, _ in elements.attributes if name.startswith("on")]
    assert elements.text.count(HOSTILE) > 15
    card = (inputs / "data/report/model_card.md").read_text()
    assert "<" not in card
    assert "&lt;script&gt;alert('x')" in card


REQUIRED = (
    "requirements.lock", "data/metadata.csv", "data/annotations.csv", "data/rejected.csv",
    "data/rejected_annotations.csv", "data/submission.csv", "data/splits/folds.csv", "data/predictions/images.csv",
    "data/models/fold0/run.json", "data/models/fold0/model.json", "metrics/extract.json", "metrics/masks.json",
    "metrics/split.json", "metrics/test.json", "metrics/test_cases.csv", "metrics/thresholds.json",
    "metrics/train/fold0.json", "metrics/train/fold0.csv", "metrics/explore", "metrics/tune", "metrics/plots",
    "metrics/plots/dice_by_size.svg", "data/images/test-00.png", "data/predictions/test/test-00.png",
)  # fmt: skip


def test_a_missing_file_is_named_and_the_older_report_stays(inputs):
    old = inputs / "data/report/index.html"
    old.parent.mkdir(exist_ok=True)
    old.write_text("older")
    for name in REQUIRED:
        path, aside = inputs / name, inputs / "aside"
        path.rename(aside)
        with pytest.raises(DataError, match=re.escape(Path(name).name)):
            report(inputs)
        aside.rename(path)
    assert old.read_text() == "older"
    assert not list((inputs / "data").glob(".writing*"))
    report(inputs)


def test_a_picture_that_is_not_what_was_measured_is_refused(inputs):
    path = inputs / "metrics/test_cases.csv"
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    frame.loc[frame["image_id"] == "test-00", "predicted_px"] = "5"
    frame.to_csv(path, index=False)
    with pytest.raises(
        DataError, match=r"test_cases\.csv: test-00 has \d+ true and 5 marked pixels.*dvc repro evaluate"
    ):
        report(inputs)


@pytest.mark.parametrize("hostile", ["../../outside", ".hidden", HOSTILE])
def test_an_id_that_cannot_name_a_file_writes_nothing(inputs, hostile):
    for name in ("data/predictions/images.csv", "data/metadata.csv", "data/annotations.csv"):
        path = inputs / name
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
        frame["image_id"] = frame["image_id"].replace("new-00", hostile)
        frame.to_csv(path, index=False)
    with pytest.raises(DataError, match="cannot name a file"):
        report(inputs)
    assert not list(inputs.parent.glob("outside*"))


def test_damaged_inputs_are_named(inputs):
    (inputs / "metrics/plots/roc.svg").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"roc\.svg: not a readable SVG"):
        report(inputs)


def test_an_incomplete_test_json_is_named(inputs):
    (inputs / "metrics/test.json").write_text('{"dice_all": 0.5}')
    with pytest.raises(DataError, match=r"test\.json: n: "):
        report(inputs)


def test_png_radiographs_and_no_unlabelled_cases(inputs):
    page = report(inputs, radiograph_format="png", unlabelled_cases=0)
    names = {path.name for path in (inputs / "data/report/cases").iterdir()}
    assert not [name for name in names if name.endswith(".jpg")]
    assert "new-00-radiograph.png" not in names
    assert "Images without annotation" not in page


def test_colours_of_text_have_the_contrast_of_wcag_aa():
    def variables(block):
        return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))

    def luminance(colour):
        channels = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    def contrast(first, second):
        low, high = sorted((luminance(first), luminance(second)))
        return (high + 0.05) / (low + 0.05)

    css = (TEMPLATES / "style.css").read_text().partition("* { box-sizing")[0]
    drawn = palette_css().replace(":#", ": #")
    for part in (0, 1):
        colour = variables(css.split("@media")[part]) | variables(drawn.split("@media")[part])
        for text, ground in (
            ("ink", "paper"), ("ink", "card"), ("muted", "paper"), ("muted", "card"), ("accent", "paper"),
            ("warn-ink", "warn-paper"), ("good-ink", "good-paper"), ("bad-ink", "bad-paper"),
        ):  # fmt: skip
            assert contrast(colour[text], colour[ground]) >= 4.5, (text, ground)
        assert all(contrast(colour[f"s{index}"], colour["card"]) >= 3 for index in range(1, 6))


def test_a_rule_that_only_empties_is_no_plain_success(inputs):
    empty_all(inputs)
    margin = {"difference": 0.3, "interval": [0.2, 0.4], "verdict": "better"}
    edit_json(inputs / "metrics/test.json", beats_plain_05=margin)
    verdict = judge(read_inputs(Layout(inputs), small_params(inputs)))
    assert verdict.kind == "bad"
    assert "calling every image negative" in verdict.sentences[3]


def test_a_model_without_maps_is_told_as_such_and_has_no_empty_column(tmp_path, root):
    folder = make_inputs(tmp_path, root, maps=False, without_mask=2)
    page = report(folder)
    inputs = read_inputs(Layout(folder), small_params(folder))
    assert {"no_map", "mask_unknown"} <= inputs.test.codes()
    assert not inputs.maps
    assert judge(inputs).kind in ("good", "open")
    head = page[page.index('<section id="result">') : page.index('<section id="cases">')]
    assert "Dice" not in re.sub(r'<div class="verdict.*?</div>', "", head, flags=re.DOTALL).replace(
        "all-empty Dice", ""
    )
    cases = page[page.index('<section id="cases">') : page.index('<section id="subgroups">')]
    assert "prediction.png" not in cases
    assert re.findall(r'<section id="([^"]+)">\n<h3>', cases) == [
        "found",
        "missed",
        "false-alarms",
        "unlabelled",
        "every-case",
    ]
    assert "no value" not in page[page.index('<section id="decision">') : page.index('<section id="detection">')]
    card = (folder / "data/report/model_card.md").read_text()
    assert "gives no map" in card
    assert card.startswith("# Model card: pneumothorax detection")
    assert "segmentation" not in card.partition("## Data")[0]
    assert "gives no map" in card


def test_labels_without_masks_are_counted_and_shown_without_a_truth(tmp_path, root):
    folder = make_inputs(tmp_path, root, without_mask=2)
    report(folder, cases_per_gallery=9)
    inputs = read_inputs(Layout(folder), small_params(folder))
    assert inputs.test.n_mask_known == 10
    assert "mask_unknown" in inputs.test.codes()
    shown = {path.name for path in (folder / "data/report/cases").glob("test-*-truth.png")}
    assert shown
    assert not shown & {"test-00-truth.png", "test-01-truth.png"}


def test_without_any_mask_of_a_positive_no_dice_is_told_anywhere(tmp_path, root):
    folder = make_inputs(tmp_path, root, without_mask=12)
    page = report(folder)
    inputs = read_inputs(Layout(folder), small_params(folder))
    assert "no_positive_mask" in inputs.test.codes()
    assert judge(inputs).kind in ("good", "open")
    head = page[page.index('<section id="result">') : page.index('<section id="cases">')]
    assert re.search(r"no test image with pneumothorax has a known mask", head, re.IGNORECASE)
    text = Elements(head).text
    assert all(f"{name} — —" in text for name in ("Dice, all images", "Dice, positives only", "IoU, all images"))
    assert not re.search(r"Dice \d|Dice of", text)
    card = (folder / "data/report/model_card.md").read_text()
    measured = card.partition("## Measured on the test images")[2]
    assert "has a known mask" in measured
    assert not re.search(r"Dice\D{0,40}0\.\d", measured)


def test_further_training_sets_stand_on_page_and_card(inputs):
    counts = {"images": 40, "positives": 9, "label_only": 3, "copies_of_main": {"id": 0, "map": 4, "pixels": 1},
              "patients_who_judge": {"fold0": 2, "fold1": 6}}  # fmt: skip
    edit_json(inputs / "metrics/split.json", more={"nih": counts})
    text = Elements(report(inputs)).text
    assert "nih 40 9 3 5 6" in text[text.index("Further training sets") :]
    card = (inputs / "data/report/model_card.md").read_text()
    assert "data.more.nih as well: 35 images, 3 of all 40 known by their label alone" in card


def test_a_figure_of_the_list_is_shown_wherever_figures_are(inputs):
    toy = Metric("toy", "toy measure", lambda rows: mean_of(column(rows, "probability")), headline=True)
    with METRICS.temporarily(toy.name, toy):
        edit_json(inputs / "metrics/test.json", toy=0.123)
        page = report(inputs)
    assert '<span class="name">Toy measure</span><span class="value">0.123</span>' in page
    assert page.count("0.123") >= 4  # tile, chart, table of measures, model card
