"""The report as a whole: complete, honest about its figures, escaped, the same bytes everywhere."""

import base64
import hashlib
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from pneumoseg.config.report import ReportParams
from pneumoseg.drawing.plotting import palette_css
from pneumoseg.report.report_page import build_report
from pneumoseg.shared.errors import DataError
from tests.report.report_inputs import HOSTILE, edit_json, make_inputs

pytestmark = pytest.mark.slow

PARAMS = ReportParams(
    cases_per_gallery=2, unlabelled_cases=2, overlay_size_px=96, radiograph_format="jpeg", jpeg_quality_percent=80
)
TEMPLATES = Path(__file__).resolve().parents[2] / "src/pneumoseg/report/templates"


@pytest.fixture(scope="module")
def source(tmp_path_factory, root):
    return make_inputs(tmp_path_factory.mktemp("inputs"), root)


@pytest.fixture
def inputs(source, tmp_path):
    return shutil.copytree(source, tmp_path / "inputs")


def report(folder, params=PARAMS):
    build_report(folder, folder / "data/report", params)
    return (folder / "data/report/index.html").read_text()


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
        re.sub(r'xmlns[:\w]*="[^"]+"', "", page),
        (TEMPLATES / "style.css").read_text(),
        (TEMPLATES / "page.js").read_text(),
    ):
        assert "//" not in re.sub(r"^\s*//.*$|/\* .* \*/", "", text, flags=re.MULTILINE)
        assert "@import" not in text


def test_the_policy_forbids_every_connection_and_allows_our_script_only(page):
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page).group(1)
    assert policy.startswith("default-src &#39;none&#39;") or policy.startswith("default-src 'none'")
    script = re.search(r"<script>(.*?)</script>", page, flags=re.DOTALL).group(1)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in policy.replace("&#39;", "'").replace("&#43;", "+")


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
    assert len(galleries) == len(badges) == 9
    assert "Phantom data" in (source / "data/report/model_card.md").read_text()


def test_an_all_empty_score_stands_beside_every_dice(page):
    tiles = re.findall(r'<span class="name">(Dice[^<]*)</span>.*?</li>', page, flags=re.DOTALL)
    assert tiles == ["Dice, all images", "Dice, positives only"]
    assert page.count('<span class="beside">all-empty ') == 2
    assert "all-empty Dice over all images" in page


def test_the_sections_hold_what_they_promise(page):
    text = Elements(page).text
    for words in (
        "a plain threshold of 0.5", "Expected calibration error", "Fold 0: validation scores by epoch",
        "a plain split by image of the same data", "2 files refused",
        "Every parameter has its default value.", "train_key", "Not for diagnosis",
        "tuned rule, validation, cross-fitted",
        "data/submission.csv has 3 images", "lesion size: small", "false positive", "missed: Dice 0",
    ):  # fmt: skip
        assert words in text, words


@pytest.mark.parametrize(
    ("difference", "interval", "kind", "sentence"),
    [
        (-0.02, [-0.05, 0.01], "bad", "Does not beat an all-empty prediction: Dice 0.8"),
        (0.0, [0.0, 0.0], "bad", "Does not beat an all-empty prediction: Dice 0.8"),
        (0.02, [-0.01, 0.05], "open", "Not shown to beat an all-empty prediction: Dice 0.8"),
        (0.02, [None, None], "open", "Not shown to beat an all-empty prediction: Dice 0.8"),
        (0.1, [0.05, 0.15], "good", "Beats an all-empty prediction: Dice 0.8"),
    ],
)
def test_the_judgement_is_plain(inputs, difference, interval, kind, sentence):
    margin = {"difference": difference, "interval": interval, "verdict": "-"}
    edit_json(inputs / "metrics/test.json", dice_all=0.8, all_empty=0.78, beats_all_empty=margin)
    page = report(inputs)
    assert f'<div class="verdict {kind}"><p>{sentence}' in page
    assert sentence in (inputs / "data/report/model_card.md").read_text().replace("\\", "")


@pytest.mark.parametrize(
    ("difference", "interval", "sentence"),
    [
        (0.1, [0.02, 0.2], "The tuned decision rule beats a plain threshold of 0.5 ("),
        (0.1, [-0.02, 0.2], "The tuned decision rule is not shown to beat a plain threshold of 0.5 ("),
        (-0.1, [-0.2, 0.2], "The tuned decision rule does not beat a plain threshold of 0.5 ("),
    ],
)
def test_tuning_is_judged_against_the_plain_threshold(inputs, difference, interval, sentence):
    edit_json(inputs / "metrics/test.json", beats_plain_05={"difference": difference, "interval": interval})
    assert report(inputs).count(sentence) == 3  # result, decision rule, model card


def empty_all(inputs):
    """No pixel of any test image is marked."""
    path = inputs / "metrics/test_cases.csv"
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    frame["predicted_px"], frame["intersection_px"] = "0", "0"
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
    params = (inputs / "params.yaml").read_text()
    (inputs / "params.yaml").write_text(params.replace("root: data/phantom", f"root: {json.dumps(HOSTILE)}"))
    metadata = pd.read_csv(inputs / "data/metadata.csv", dtype=str, keep_default_na=False)
    metadata["sex"], metadata["view_position"] = HOSTILE, HOSTILE
    metadata.to_csv(inputs / "data/metadata.csv", index=False)
    group = {"by": HOSTILE, "group": HOSTILE, "n": 3, "positives": 1, "dice_pos": 0.5, "dice_pos_interval": [0.1, 0.9]}
    edit_json(inputs / "metrics/test.json", notes=[HOSTILE], subgroups=[group])
    edit_json(
        inputs / "metrics/thresholds.json", warnings=[HOSTILE], searched={HOSTILE: {"rules": 1, "best": [HOSTILE]}}
    )
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
    "params.yaml", "requirements.lock", "data/metadata.csv", "data/annotations.csv", "data/rejected.csv",
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
    with pytest.raises(DataError, match=r"test\.json: no figure dice_pos"):
        report(inputs)


def test_png_radiographs_and_no_unlabelled_cases(inputs):
    page = report(inputs, PARAMS.model_copy(update={"radiograph_format": "png", "unlabelled_cases": 0}))
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
    edit_json(inputs / "metrics/test.json", beats_plain_05={"difference": 0.3, "interval": [0.2, 0.4]})
    assert "but only by calling every image negative." in Elements(report(inputs)).text
