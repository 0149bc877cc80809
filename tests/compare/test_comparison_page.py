"""The page, its numbers and the text for the terminal: honest, escaped, the same bytes, and only where they may lie."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markupsafe import Markup

from pneumoseg.compare.comparing import Comparison, compare, compare_experiments
from pneumoseg.compare.comparison_page import check_folder, write_comparison
from pneumoseg.compare.costs import Cost
from pneumoseg.compare.terminal import as_text
from pneumoseg.compare.wording import against_empty, main_verdict, p_text, short_names, signed
from pneumoseg.evaluate.metric import Metric, column, mean_of
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.registry import METRICS
from tests.compare.comparison_cases import HOSTILE, case_table, experiment, random_cases

pytestmark = pytest.mark.slow


def made(*names: str, phantom: int = 0, skills: tuple[float, ...] = (0.5, 0.8, 0.5, 0.5)) -> Comparison:
    experiments = []
    for index, name in enumerate(names):
        cases = random_cases(index, skill=skills[index])
        cases["phantom"] = phantom
        settings = {"model.encoder": json.dumps(name), "model.architecture": '"unet"', "split.train_folds": "[0]"}
        experiments.append(experiment(name, cases, settings=settings))
    return compare_experiments(experiments, 400, 1)


def page_of(comparison: Comparison, folder: Path) -> str:
    write_comparison(comparison, folder)
    return (folder / "index.html").read_text()


class Elements(HTMLParser):
    """Tags and attributes of a page, and the text a reader sees."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def values(self, name: str) -> list[str | None]:
        return [value for _, key, value in self.attributes if key == name]


def test_the_page_stands_alone(tmp_path: Path) -> None:
    page = page_of(made("main", "b4"), tmp_path / "out")
    elements = Elements(page)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["comparison.json", "index.html"]
    links = {link for link in elements.values("href") if link}
    anchors = {link[1:] for link in links if link.startswith("#")}
    assert links - {f"#{name}" for name in anchors} == {"comparison.json", "data:,"}
    assert anchors <= set(elements.values("id"))
    assert not elements.values("src")
    assert "//" not in page
    assert "default-src 'none'" in page
    assert "script-src &#39;none&#39;" in page
    assert "script" not in elements.tags


def test_hostile_names_and_values_are_only_text(tmp_path: Path) -> None:
    name = HOSTILE
    cases = random_cases(3)
    cases.index = [f"{image}{HOSTILE}" for image in cases.index]
    first = experiment("main", cases, settings={"model.encoder": json.dumps(HOSTILE), "train.x": "1"})
    second = experiment(name, cases.assign(dice=cases["dice"] * 0.9), settings={f"model.{HOSTILE}": HOSTILE})
    page = page_of(compare_experiments([first, second], 200, 0), tmp_path)
    elements = Elements(page)
    assert "script" not in elements.tags
    assert not [key for _, key, _ in elements.attributes if key.startswith("on")]
    assert elements.text.count("<script>alert('x')</script>\"&") >= 4
    assert HOSTILE not in page
    assert json.loads((tmp_path / "comparison.json").read_text())["experiments"][1]["name"] == name


def test_the_same_comparison_gives_the_same_bytes(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        write_comparison(made("main", "b4", "b5"), tmp_path / folder)
    for name in ("index.html", "comparison.json"):
        content = (tmp_path / "one" / name).read_bytes()
        assert content == (tmp_path / "two" / name).read_bytes()
        assert str(tmp_path).encode() not in content


def test_costs_and_pictures_of_both_stand_beside_the_figures(tmp_path: Path) -> None:
    comparison = made("main", "b4")
    first = comparison.against[0].most_different[0].image_id
    assert "GiB" not in page_of(comparison, tmp_path / "none")
    pairs = {first: (Markup("<b>one</b>"), Markup("<b>other</b>"))}
    told = replace(comparison, costs=(Cost(90.5, 3.25), Cost()), pictures=(pairs,))
    text = Elements(page_of(told, tmp_path / "both")).text
    assert "GiB 3.2 —" in text
    assert " s 90.5 —" in text
    scores = comparison.against[0].most_different[0]
    assert text.index(f"one {first}, main: Dice {scores.reference_dice:.3f}") < text.index(
        f"other {first}, b4: Dice {scores.dice:.3f}"
    )
    lacking = Elements(page_of(replace(told, pictures=({},)), tmp_path / "lacking")).text
    assert lacking.count("dvc pull") == text.count("dvc pull") + 1


def test_identical_predictions_have_no_interval(tmp_path: Path) -> None:
    comparison = compare_experiments([experiment(name, random_cases(0)) for name in ("main", "copy")], 200, 0)
    page_of(comparison, tmp_path)
    written = json.loads((tmp_path / "comparison.json").read_text())["comparisons"][0]["differences"]
    assert {(found["verdict"], found["difference"]) for found in written.values()} == {("same", 0.0)}
    assert all(found["interval"] in (None, [None, None]) for found in written.values())


def test_the_numbers_are_those_of_the_comparison(tmp_path: Path) -> None:
    comparison = made("main", "b4")
    text = Elements(page_of(comparison, tmp_path)).text
    record = json.loads((tmp_path / "comparison.json").read_text())
    found = comparison.against[0].differences["dice_pos"]
    written = record["comparisons"][0]["differences"]["dice_pos"]
    assert written["difference"] == pytest.approx(found.value, abs=1e-6)
    assert written["interval"] == pytest.approx(found.interval, abs=1e-6)
    assert written["verdict"] == "better"
    assert signed(found.value, found.interval) in text
    assert record["images"]["all_empty"] == pytest.approx(1 - record["images"]["prevalence"], abs=2e-6)
    assert f"{record['images']['all_empty']:.3f}" in text
    assert record["parameters"] == {"model.encoder": {"main": '"main"', "b4": '"b4"'}}
    words = as_text(comparison)
    assert signed(found.value, found.interval) in words
    assert f"all-empty Dice {record['images']['all_empty']:.3f}" in words
    for heading in (
        "Dice by lesion size",
        "Images that differ most",
        "Parameters that differ",
        "Fold 0: validation Dice",
    ):
        assert heading in text


@pytest.mark.parametrize("phantom", [0, 1])
def test_phantoms_are_marked_before_anything_else(tmp_path: Path, phantom: int) -> None:
    comparison = made("main", "b4", phantom=phantom)
    text = Elements(page_of(comparison, tmp_path)).text
    assert ("Phantom data" in text) is bool(phantom)
    assert ("phantom data, not patients" in as_text(comparison)) is bool(phantom)
    if phantom:
        assert text.index("Phantom data") < text.index("Result")


def test_a_verdict_is_plain() -> None:
    comparison = made("main", "b4", "b5")
    better, none = (main_verdict(comparison, item) for item in comparison.against)
    assert better.startswith("b4 is better than main: Dice over all images is 0.")
    assert "after correction" in better
    assert none.startswith("No difference is shown between b5 and main (interval includes 0): Dice over all images is")
    same = made("main", "b4", skills=(0.6, 0.6))
    same = compare_experiments([same.experiments[0], experiment("copy", random_cases(0, skill=0.6))], 200, 0)
    assert main_verdict(same, same.against[0]).startswith(
        "copy and main have the same Dice on every compared image (0."
    )
    assert "no difference shown: interval includes 0" in as_text(comparison)


def test_models_that_do_not_beat_marking_nothing_are_named() -> None:
    area = [100, 100, 0, 0, 0, 0] * 5
    ids = [f"i{number:02d}" for number in range(30)]
    empty = case_table(ids, ids, area, [0] * 30, [0] * 30)
    good = case_table(ids, ids, area, area, area)
    comparison = compare_experiments([experiment("blank", empty), experiment("b4", good)], 300, 0)
    assert against_empty(comparison).startswith("blank is not shown to beat an all-empty prediction on these images, ")
    assert "0.667" in against_empty(comparison)
    assert against_empty(comparison) in as_text(comparison)
    assert comparison.against[0].differences["dice_all"].verdict == "better"


def test_a_model_without_maps_is_compared_by_what_both_have(tmp_path: Path) -> None:
    masks, labels = (random_cases(index, skill=0.7) for index in (1, 2))
    pixels = ["predicted_px", "intersection_px", "dice"]
    labels[pixels] = float("nan")
    comparison = compare_experiments([experiment("main", masks), experiment("labels", labels)], 200, 0)
    assert comparison.deciding == "auc"
    found = comparison.against[0].differences
    assert found["auc"].verdict != "unknown"
    assert found["dice_all"].verdict == found["dice_pos"].verdict == "unknown"
    page = page_of(comparison, tmp_path)
    assert "there is no Dice to compare" in page
    assert "nan" not in Elements(page).text.split()
    assert against_empty(comparison) == ""
    both = compare_experiments([experiment("a", labels), experiment("b", labels)], 200, 0)
    assert not [metric for metric in both.metrics if metric.name.startswith("dice")]
    assert "Dice" not in as_text(both)


def test_a_figure_of_the_list_is_compared_and_shown(tmp_path: Path) -> None:
    toy = Metric("toy", "toy measure", lambda rows: mean_of(column(rows, "probability")), headline=True)
    with METRICS.temporarily(toy.name, toy):
        comparison = made("main", "b4")
        page = page_of(comparison, tmp_path)
        assert "toy measure" in as_text(comparison)
    record = json.loads((tmp_path / "comparison.json").read_text())
    gap = comparison.rows[1]["probability"].mean() - comparison.rows[0]["probability"].mean()
    assert record["comparisons"][0]["differences"]["toy"]["difference"] == pytest.approx(gap, abs=1e-6)
    assert page.count("toy measure") >= 3  # verdict, figures, differences


def test_names_are_cut_to_fit_and_still_differ() -> None:
    assert short_names(["main", "b4"]) == ["main", "b4"]
    long = ["experiment-lr-1-seed-7", "experiment-lr-2-seed-7", "a" * 40]
    cut = short_names(long)
    assert len(set(cut)) == 3
    assert max(map(len, cut)) <= 18


def test_numbers_as_text() -> None:
    assert signed(0.0123, (-0.2, 0.21)) == "+0.012 (-0.200 to 0.210)"
    assert signed(-0.0001, (-0.0004, 0.0004)) == "0.000 (0.000 to 0.000)"
    assert signed(float("nan")) == "no value"
    assert [p_text(value) for value in (0.0001, 0.04, float("nan"))] == ["< 0.001", "0.040", "—"]


def test_only_a_folder_of_its_own_is_written_to(tmp_path: Path) -> None:
    comparison = made("main", "b4")
    foreign = tmp_path / "report"
    foreign.mkdir()
    (foreign / "index.html").write_text("the report")
    with pytest.raises(DataError, match=r"report: holds files, but no comparison\.json of this command; give --out"):
        write_comparison(comparison, foreign)
    (foreign / "comparison.json").write_text('{"made_by": "somebody"}')
    with pytest.raises(DataError, match="holds files"):
        check_folder(foreign)
    assert (foreign / "index.html").read_text() == "the report"
    with pytest.raises(DataError, match=r"index\.html: is a file; give --out a folder"):
        check_folder(foreign / "index.html")
    for folder in (tmp_path / "new" / "deep", tmp_path / "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        write_comparison(comparison, folder)
        (folder / "notes.txt").write_text("mine")
        write_comparison(comparison, folder)
        assert (folder / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("names", "message"),
    [(["main"], "only one revision is named"), (["main", "b4", "main"], "main is named twice")],
)
def test_two_different_revisions_are_needed(tmp_path: Path, names: list[str], message: str) -> None:
    with pytest.raises(DataError, match=f"^{message}: name two or more different ones, the reference first$"):
        compare(tmp_path, names, 100, 0)


def test_labels_without_masks_are_in_no_figure_of_masks(tmp_path: Path) -> None:
    experiments = []
    for index, name in enumerate(("main", "b4")):
        cases = random_cases(index, skill=0.7)
        positive = cases.index[cases["pneumothorax"] == 1]
        cases.loc[positive[:5], ["truth_px", "intersection_px", "dice"]] = float("nan")
        experiments.append(experiment(name, cases))
    comparison = compare_experiments(experiments, 200, 0)
    page = page_of(comparison, tmp_path)
    assert [f"{image}: main " in page for image in positive] == [False] * 5 + [True] * (len(positive) - 5)
    record = json.loads((tmp_path / "comparison.json").read_text())["images"]
    empty = record["n"] - record["n_positive"]
    assert record["all_empty"] == pytest.approx(empty / (record["n"] - 5), abs=1e-6)
    assert f"all-empty Dice {empty / (record['n'] - 5):.3f}" in as_text(comparison)
