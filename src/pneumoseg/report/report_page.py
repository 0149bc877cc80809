"""The report: one folder with index.html, pictures, plots and the model card; opens from disk without a network."""

from __future__ import annotations

import base64
import hashlib
import logging
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jinja2
from markupsafe import Markup

from pneumoseg.config.report import ReportParams
from pneumoseg.drawing.plotting import palette_css
from pneumoseg.report.card import card_markdown, phantom_sentence, write_card
from pneumoseg.report.data import data_parts
from pneumoseg.report.ensemble_notes import ensemble_fingerprints, others_joined
from pneumoseg.report.external_sets import external_section
from pneumoseg.report.gallery_views import GalleryView, show_galleries
from pneumoseg.report.inputs import Inputs, read_inputs
from pneumoseg.report.judging import calibration_section, decision_section, searched_table, subgroup_section
from pneumoseg.report.learning_curves import training_section
from pneumoseg.report.result import headline_chart, judge, measures, tiles
from pneumoseg.report.statistical_plots import copy_plots
from pneumoseg.shared.files import atomic_path

_LOGGER = logging.getLogger("pneumoseg")
_TEMPLATES = Path(__file__).with_name("templates")
_SECTIONS: Final = {
    "result": "Result",
    "cases": "Cases",
    "subgroups": "Subgroups",
    "external": "External sets",
    "decision": "Decision rule",
    "detection": "Detection",
    "training": "Training",
    "data": "Data",
    "exploration": "Exploration",
    "configuration": "Configuration",
    "model-card": "Model card",
}


@dataclass(frozen=True)
class _Folder:
    """Where a report is being written; it takes its place at the end, whole."""

    path: Path

    def write(self, name: str, text: str) -> None:
        """Write one text file, LF line ends."""
        with atomic_path(self.path / name) as temporary:
            temporary.write_bytes(text.encode())


def build_report(root: Path, out: Path, params: ReportParams) -> None:
    """Write the report of the files below ``root``.

    An older report stays as it is until the new one is complete.

    Args:
        root: folder with params.yaml, requirements.lock, data and metrics.
        out: the report's folder, rewritten completely: index.html, model_card.md, cases, plots.
        params: section report.

    Raises:
        DataError: a file is missing or damaged, or files contradict each other.
    """
    inputs = read_inputs(root)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".writing-report-") as temporary:
        folder = _Folder(Path(temporary) / "report")
        folder.path.mkdir()
        galleries = show_galleries(inputs, folder.path, params)
        _write_pages(folder, _view(inputs, folder, galleries))
        shutil.rmtree(out, ignore_errors=True)
        folder.path.replace(out)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    _LOGGER.info("%s: %d galleries, %.1f MB", out / "index.html", len(galleries), size / 1e6)


def _write_pages(folder: _Folder, view: dict[str, Any]) -> None:
    # Strict: a name that the view lacks is an error here, not a hole in the page.
    pages = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    script = f"\n{(_TEMPLATES / 'page.js').read_text('utf-8')}"
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = pages.get_template("page.html").render(
        view=view,
        style=Markup(palette_css() + (_TEMPLATES / "style.css").read_text("utf-8")),  # noqa: S704 - our own
        script=Markup(script),  # noqa: S704 - our own file
        script_hash=f"sha256-{digest}",
    )
    folder.write("index.html", page)
    folder.write("model_card.md", card_markdown(view["card"], view["phantom_note"]))


def _view(inputs: Inputs, folder: _Folder, galleries: tuple[GalleryView, ...]) -> dict[str, Any]:
    """What the template shows; every value is plain text, a chart of ours, or made of them."""
    metrics, data = inputs.root / "metrics", inputs.root / "data"
    encoder = inputs.configuration.value("model.encoder").strip('"')
    architecture = inputs.configuration.value("model.architecture").strip('"')
    return {
        "title": "Pneumothorax segmentation: report",
        "subtitle": f"{architecture}, encoder {encoder}{others_joined(inputs.root)}; {len(inputs.cases):,} test images",
        "phantom": inputs.phantom_share > 0,
        "phantom_note": phantom_sentence(inputs) if inputs.phantom_share > 0 else "",
        "sections": tuple(_SECTIONS.items()),
        "verdict": judge(inputs),
        "tiles": tiles(inputs),
        "headline_chart": headline_chart(inputs),
        "measures": measures(inputs),
        "galleries": galleries,
        "subgroups": subgroup_section(inputs),
        "external": external_section(inputs),
        "decision": decision_section(inputs),
        "searched": searched_table(inputs),
        "decision_plots": copy_plots(metrics / "tune", folder.path),
        "calibration": calibration_section(inputs),
        # The subgroups are drawn as a chart of ours, that fits a phone and a dark page.
        "detection_plots": copy_plots(metrics / "plots", folder.path, leave=("dice_by_size", "subgroups")),
        "size_plots": copy_plots(metrics / "plots", folder.path, only=("dice_by_size",)),
        "training": training_section(metrics / "train", inputs.train_folds),
        "data": data_parts(metrics, data, inputs.submission),
        "exploration_plots": copy_plots(metrics / "explore", folder.path),
        "configuration": inputs.configuration,
        "fingerprints": _fingerprints(inputs),
        "card": write_card(inputs),
    }


def _fingerprints(inputs: Inputs) -> tuple[tuple[str, str], ...]:
    rows = [("requirements.lock, SHA-256", inputs.configuration.lock_sha256)]
    for fold, run in inputs.runs.items():
        rows.append((f"fold {fold}, train_key", str(run.get("train_key", "not recorded"))))
        rows.append((f"fold {fold}, data", str(run.get("data", "not recorded"))))
    rows += ensemble_fingerprints(inputs.root)
    return tuple(rows)
