"""``pneumoseg compare`` on a small repository whose pipeline DVC really ran."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pandas as pd
import pytest

from pneumoseg.commands.cli import main
from tests.track.repositories import shell

pytestmark = pytest.mark.slow

PARAMS = "model: {encoder: resnet18}\ntrain: {skill: 60}\nsplit: {train_folds: [0], test_first: 0}\nevaluate: {x: 1}\n"
DVC_YAML = """
stages:
  split:
    cmd: python stages/make.py split
    deps: [stages/make.py]
    params: [split]
    outs: [data/splits]
  train:
    matrix: {fold: "${split.train_folds}"}
    cmd: python stages/make.py train
    deps: [stages/make.py, data/splits/folds.csv]
    params: [model, train]
    outs: ["data/models/fold${item.fold}"]
    plots: [{"metrics/train/fold${item.fold}.csv": {cache: false}}]
  evaluate:
    cmd: python stages/make.py evaluate
    deps: [stages/make.py, data/models, data/splits/folds.csv]
    params: [evaluate]
    outs: [{metrics/test_cases.csv: {cache: false}}]
    metrics: [{metrics/test.json: {cache: false}}, {metrics/thresholds.json: {cache: false}}]
"""
# 60 images of 30 patients; the 40 of them from test_first on are the test set, every second one is positive. The
# predicted mask of a positive one overlaps the truth by about the skill.
MAKE = """
import json, pathlib, sys
from ruamel.yaml import YAML

params = YAML(typ="safe").load(pathlib.Path("params.yaml"))

def write(path, text):
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)

start = params["split"]["test_first"]
test = range(start, start + 40)
if sys.argv[1] == "split":
    rows = [f"i{n:02d},p{n // 2},{'test' if n in test else n % 2}" for n in range(60)]
    write("data/splits/folds.csv", "\\n".join(["image_id,patient,fold", *rows]) + "\\n")
if sys.argv[1] == "train":
    write("data/models/fold0/skill", str(params["train"]["skill"]))
    write("metrics/train/fold0.csv", "epoch,val_dice_pos,val_loss\\n1,0.2,1.0\\n2,0.5,0.5\\n")
if sys.argv[1] == "evaluate":
    skill = int(pathlib.Path("data/models/fold0/skill").read_text())
    rows, scores = [], []
    for n in test:
        truth = 100 if n % 2 else 0
        hit = skill * (100 - n % 9) // 100 if truth else 0
        scores.append(hit / 100 if truth else 1.0)
        rows.append(f"i{n:02d},p{n // 2},{n % 2},{n % 2},{0.01 * (hit + n % 5):.9g},10000,{truth},{truth},{hit},"
                    f"{scores[-1]:.9g},{'small' if truth else ''},1")
    header = ("image_id,patient,pneumothorax,called,probability,image_px,truth_px,predicted_px,intersection_px,dice,"
              "lesion_size,phantom")
    write("metrics/test_cases.csv", "\\n".join([header, *rows]) + "\\n")
    unknown = {"difference": None, "interval": [None, None], "verdict": "unknown"}
    result = {"dice_all": round(sum(scores) / 40, 6), "n": 40, "beats_all_empty": unknown, "beats_plain_05": unknown}
    write("metrics/test.json", json.dumps(result | {"plain_05": {}}))
    write("metrics/thresholds.json", json.dumps({"description": "mask: p > 0.5"}))
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository after dvc repro, a commit, and an experiment with a better network."""
    root = tmp_path_factory.mktemp("ran")
    for name, text in (("params.yaml", PARAMS), ("dvc.yaml", DVC_YAML), ("stages/make.py", MAKE)):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    (root / ".gitignore").write_text("/data/\n__pycache__/\n")
    shell(root, "git", "init", "-q", "-b", "main")
    shell(root, "dvc", "init", "-q")
    shell(root, "dvc", "repro", "-q")
    shell(root, "git", "add", "-A")
    shell(root, "git", "commit", "-qm", "first")
    shell(root, "dvc", "exp", "run", "-q", "--temp", "-n", "fast-owl", "-S", "train.skill=80")
    return root


@pytest.fixture
def repo(ran: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that repository to work in."""
    for name in [name for name in os.environ if name.startswith(("DVC_", "GIT_"))]:
        monkeypatch.delenv(name)
    root = tmp_path / "repo"
    shutil.copytree(ran, root, symlinks=True)
    monkeypatch.chdir(root)
    return root


def test_an_experiment_against_a_commit(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # What lies in the workspace is nobody's business.
    (repo / "metrics/test_cases.csv").write_text("spoilt")
    shutil.rmtree(repo / "data")
    assert main(["compare", "main", "fast-owl", "--replicates", "500"]) == 0
    out = capsys.readouterr().out
    old, new = (sum(skill * (100 - n % 9) // 100 for n in range(1, 40, 2)) / 100 for skill in (60, 80))
    assert (
        f"fast-owl is better than main: Dice over all images is {(20 + new) / 40:.3f}, that of main "
        f"{(20 + old) / 40:.3f}; difference {(new - old) / 40:+.3f} (95 % interval 0.0"
    ) in out
    assert "40 common test images of 20 patients, 20 with pneumothorax" in out
    record = json.loads((repo / "data/comparison/comparison.json").read_text())
    assert record["comparisons"][0]["differences"]["dice_pos"]["difference"] == pytest.approx((new - old) / 20)
    assert record["parameters"] == {"train.skill": {"main": "60", "fast-owl": "80"}}
    assert [item["leak"] for item in record["experiments"]] == [{"n": 0, "n_patients": 0}] * 2
    assert not [caution for caution in record["cautions"] if caution["grave"]]
    assert "fast-owl" in (repo / "data/comparison/index.html").read_text()


def test_numbers_for_other_programs(
    repo: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "page"
    arguments = ["compare", "fast-owl", "main", "HEAD", "workspace", "--replicates", "200", "--seed", "7", "--json"]
    assert main([*arguments, "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert shown == (out / "comparison.json").read_text()
    record = json.loads(shown)
    assert (record["reference"], record["seed"], record["replicates"]) == ("fast-owl", 7, 200)
    assert [item["differences"]["dice_all"]["verdict"] for item in record["comparisons"]] == ["worse"] * 3
    assert record["experiments"][3]["commit"] is None
    assert "caution: The same commit: main and HEAD; no difference is to be expected." in caplog.messages


def test_another_test_set_and_what_was_trained_on(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shell(repo, "dvc", "exp", "run", "-q", "--temp", "-n", "moved", "-S", "split.test_first=19")
    assert main(["compare", "main", "moved", "--json", "--replicates", "200"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["images"]["n"] == 21
    assert record["experiments"][0]["left_out"] == [
        {"reason": "a training or validation image of moved", "n": 19, "n_patients": 10}
    ]
    # i19 is compared; its patient's other image, i18, was trained on by moved.
    assert [item["leak"] for item in record["experiments"]] == [
        {"n": 0, "n_patients": 0}, {"n": 1, "n_patients": 1},
    ]  # fmt: skip
    grave = [caution["text"] for caution in record["cautions"] if caution["grave"]]
    assert grave[0].startswith("Leak: moved trained, or chose its epoch or decision rule, on 1 compared image")
    assert any(text.startswith("The data differ (folds and test set)") for text in grave)


def test_figures_that_dvc_did_not_write_are_doubted(repo: Path, caplog: pytest.LogCaptureFixture) -> None:
    cases = pd.read_csv("metrics/test_cases.csv", dtype={"image_id": str})
    cases.loc[1, ["intersection_px", "dice"]] = [100, 1.0]
    cases.to_csv("metrics/test_cases.csv", index=False)
    content = json.loads((repo / "metrics/test.json").read_text())
    content["dice_all"] = round(float(cases["dice"].mean()), 6)
    (repo / "metrics/test.json").write_text(json.dumps(content))
    assert main(["compare", "main", "workspace", "--replicates", "200"]) == 0
    assert any(
        message.startswith("CAUTION: In workspace: metrics/test.json, metrics/test_cases.csv: not as the pipeline")
        or message.startswith("CAUTION: In workspace: metrics/test_cases.csv, metrics/test.json: not as the pipeline")
        for message in caplog.messages
    )


def test_parameters_edited_since_the_run_are_not_shown_as_its_own(
    repo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (repo / "params.yaml").write_text(PARAMS.replace("skill: 60", "skill: 99"))
    assert main(["compare", "fast-owl", "workspace", "--replicates", "200", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["parameters"] == {"train.skill": {"fast-owl": "80", "workspace": "60"}}


def test_without_the_cache_what_is_unknown_is_said(
    repo: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(repo / ".dvc/cache")
    assert main(["compare", "main", "fast-owl", "--replicates", "200", "--json"]) == 0
    assert [item["leak"] for item in json.loads(capsys.readouterr().out)["experiments"]] == [None, None]
    assert any("Whether main and fast-owl trained on a compared image or patient is unknown" in text
               for text in caplog.messages)  # fmt: skip


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (
            "metrics/test_cases.csv",
            ",0.59,",
            ",0.99,",
            "i01 has dice 0.99, but its pixels give 0.590000; run dvc repro",
        ),
        ("metrics/test_cases.csv", "i02,", "i01,", "i01 has two rows"),
        ("metrics/test_cases.csv", ",100,100,59", ",100,100,", "i01 has dice 0.59, but its pixels give nan"),
        ("metrics/test_cases.csv", "dice", "score", "no column dice"),
        ("metrics/test.json", "0.78", "0.85", "metrics/test.json has dice_all 0.85"),
        ("metrics/test.json", ": 40", ": [", "not readable as JSON"),
        ("params.yaml", "model: {", "model: [", "not valid YAML"),
    ],
)
def test_files_that_contradict_each_other_are_refused(
    repo: Path, file: str, old: str, new: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (repo / file).read_text()
    assert old in text
    (repo / file).write_text(text.replace(old, new))
    assert main(["compare", "main", "workspace", "--replicates", "100"]) == 1
    shown = capsys.readouterr().err
    assert shown.startswith("pneumoseg compare: workspace: ")
    assert message in shown
    assert "pneumoseg-compare-" not in shown  # the temporary folder is nobody's business
    assert not (repo / "data/comparison").exists()


def test_refusals_before_anything_is_written(repo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def said(*arguments: str) -> str:
        assert main(["compare", *arguments]) == 1
        return capsys.readouterr().err

    assert "no-such: neither a git revision nor an experiment" in said("main", "no-such")
    assert "main is named twice" in said("main", "main")
    assert "only one revision is named" in said("main")
    assert "holds files, but no comparison.json" in said("main", "fast-owl", "--out", "stages")
    shell(repo, "git", "rm", "-q", "--cached", "metrics/test.json")
    shell(repo, "git", "commit", "-qm", "without figures")
    assert said("main", "fast-owl") == (
        "pneumoseg compare: main: has no metrics/test.json; only a revision on which dvc repro has run to evaluate can "
        "be compared\n"
    )
    for wrong in (["--replicates", "5"], ["--replicates", "many"], ["--seed", "-1"]):
        with pytest.raises(SystemExit) as caught:
            main(["compare", "main", "fast-owl", *wrong])
        assert caught.value.code == 2
    assert not (repo / "data/comparison").exists()
