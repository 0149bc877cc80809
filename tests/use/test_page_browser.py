"""The reading page in a real browser: what a person drops, sees and moves, in figures of the reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from benchmarks.browser import find_browser, visit

from pneumoseg.rule.decision import DecisionRule
from pneumoseg.rule.dice import dice
from pneumoseg.shared import rle
from pneumoseg.use.answers import Reading
from pneumoseg.use.bundle import Bundle
from pneumoseg.use.reader import Reader
from tests.radiographs.dicom_files import dataset
from tests.use.conftest import NETWORK, encoded, write_bundle, write_detector

pytestmark = pytest.mark.long

IMAGE = cv2.imread(str(NETWORK.parent / "image.png"), cv2.IMREAD_UNCHANGED)
DICOM = encoded(dataset(IMAGE, "1.2.9", PatientOrientation=["L", "F"], PatientName="<img src=x onerror=alert(1)>"))
NAMED = "<img src=x onerror=alert(1)>.png"
PNG = cv2.imencode(".png", IMAGE)[1].tobytes()
LEVEL = 60
SEE = f"""
const seen = {{violations: []}};
document.addEventListener("securitypolicyviolation", (event) => seen.violations.push(event.violatedDirective));
const files = await given();
const truth = files.pop();
give("choose", files);
await until(() => at("list").children.length === files.length && !at("threshold").disabled);
await until(() => at("progress").textContent.includes("answered"));
await tick(); await tick();
const facts = () => Object.fromEntries([...at("facts").children].map((part, place, all) =>
  [part.textContent, all[place + 1] && all[place + 1].textContent]).filter((_, place) => place % 2 === 0));
const picture = () =>
  [...at("canvas").getContext("2d").getImageData(0, 0, at("canvas").width, at("canvas").height).data];
const press = (key) =>
  document.body.dispatchEvent(new KeyboardEvent("keydown", {{key, bubbles: true, cancelable: true}}));
seen.list = [...at("list").children].map((item) => item.innerText);
seen.elements = document.querySelectorAll("#list img, #list script").length;
seen.call = at("call").textContent;
seen.progress = at("progress").textContent;
seen.threshold = at("threshold-value").textContent;
seen.facts = facts();
seen.sides = [at("left").textContent, at("right").textContent];
seen.warnings = at("warnings").textContent;
seen.model = at("model").textContent;
const marked = picture();
press("o"); await tick(); await tick();
const plain = picture();
seen.changed = marked.filter((value, place) => place % 4 === 0 && value !== plain[place]).length;
seen.notMovedYet = at("moved").hidden;
press("0"); await tick();
at("threshold").value = "{LEVEL}";
at("threshold").dispatchEvent(new Event("input")); await tick(); await tick();
seen.moved = !at("moved").hidden && at("moved").textContent;
seen.movedFacts = facts();
at("reset").click(); await tick(); await tick();
give("truth", [truth]);
await until(() => at("truth-told").textContent);
await tick(); await tick();
seen.truth = at("truth-told").textContent;
seen.truthFacts = facts();
seen.results = [...at("results").children].map((link) => link.textContent);
seen.foreign = performance.getEntriesByType("resource").map((entry) => entry.name)
  .filter((name) => new URL(name).host !== location.host && !name.startsWith("blob:"));
seen.width = innerWidth;
seen.overflow = document.documentElement.scrollWidth - innerWidth;
await tell(seen);
"""


@pytest.fixture(scope="module")
def browser() -> str:
    found = find_browser()
    if found is None:
        pytest.skip("no Chromium here (Debian: apt install chromium)")
    return found


@pytest.mark.parametrize("size", [(1280, 900), (500, 900)], ids=["wide", "phone"])
def test_what_a_person_drops_sees_and_moves(browser: str, reader: Reader, size: tuple[int, int]):
    wanted = reader.read(DICOM)
    assert isinstance(wanted, Reading)
    assert wanted.mask is not None
    assert wanted.map is not None
    truth = np.roll(wanted.mask, 5, axis=1)
    given = {"x.dcm": DICOM, NAMED: PNG, "text.dcm": b"<b>no radiograph</b>", "t.txt": rle.encode(truth).encode()}
    seen: dict[str, Any]
    seen, asked = visit(browser, reader, SEE, given, size=size)
    assert "failed" not in seen, seen
    assert (seen["violations"], seen["foreign"], seen["elements"]) == ([], [], 0)
    assert seen["list"][1].startswith(NAMED)
    assert seen["list"][2].split("\n") == ["text.dcm", "no DICOM file"]
    assert seen["call"] == wanted.call
    assert seen["progress"] == "2 answered, 1 refused"
    assert seen["threshold"] == f"> {reader.bundle.rule.mask_threshold:g}"
    assert seen["facts"]["Area"].startswith(f"{wanted.area_px} px, {wanted.area_mm2:.0f} mm²")
    assert "sensitivity 0.50 (0.25 to 0.75)" in seen["facts"]["At this rule"]
    assert seen["sides"] == ["R", "L"]
    assert "not a medical device" in seen["warnings"]
    assert reader.bundle.about.id in seen["model"]
    assert 0.9 * wanted.mask.sum() <= seen["changed"] <= wanted.mask.sum()  # a grey level may equal the colour's
    assert seen["notMovedYet"]
    assert seen["moved"] == "Not the tuned rule: sensitivity unknown"
    assert seen["movedFacts"]["Area"].startswith(f"{int((wanted.map > LEVEL).sum())} px")
    assert seen["movedFacts"]["At this rule"] == "unknown"
    both = float(dice((truth & wanted.mask).sum(), wanted.mask.sum(), truth.sum()))
    assert f"Dice at the tuned rule {both:.4f}" in seen["truth"]
    assert seen["truthFacts"]["Dice"] == f"{both:.4f}"
    assert {"mask", "overlay", "json", "seg"} <= set(seen["results"])
    assert seen["overflow"] <= 0
    assert seen["width"] == size[0]
    assert all(path.startswith(("/api/", "/page.")) or path == "/" for path in asked)


BOXES = """
give("choose", await given());
await until(() => !at("threshold").disabled && at("progress").textContent.includes("answered"));
const seen = {facts: []};
const row = (of) => (value) => at("canvas").getContext("2d").getImageData(of[0], of[1], 1, 1).data[value];
for (const level of [100, 254]) {
  at("threshold").value = String(level);
  at("threshold").dispatchEvent(new Event("input")); await tick(); await tick();
  const labels = [...at("facts").children].map((part) => part.textContent);
  seen.facts.push(labels[labels.indexOf("Findings") + 1]);
  seen.rim = [...(seen.rim || []), row(CORNER)(0)];
}
await tell(seen);
"""


def test_a_detectors_findings_are_framed_and_listed_above_the_threshold_alone(browser: str, tmp_path: Path):
    network, rule = write_detector(tmp_path / "detector"), DecisionRule("single", 0.4)
    bundle = write_bundle(tmp_path / "bundle", network, architecture="mask_rcnn", rule=rule.to_json())
    detector = Reader(Bundle.read(bundle), "cpu")
    wanted = detector.read(PNG, "one")
    assert isinstance(wanted, Reading)
    assert wanted.findings
    left, _, _, bottom = wanted.findings[0].box
    corner = [int(left), int(bottom) - 4]
    seen, _ = visit(browser, detector, BOXES.replace("CORNER", str(corner)), {"one.png": PNG})
    scores = [f"{one.score:.2f} ({np.count_nonzero(one.mask)} px)" for one in wanted.findings]
    assert seen["facts"] == [", ".join(scores), "none; 3 of too low a score"]
    assert seen["rim"][0] > seen["rim"][1] + 40
