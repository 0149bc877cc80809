"""The notebook runs from its first cell to its last, in a fresh process and in order, and shows what it says."""

from __future__ import annotations

import json
import sys

import pytest

from tests.pipeline.project import ROOT, Project

pytestmark = [pytest.mark.long, pytest.mark.pipeline]

#: In place of a kernel (none is needed to run plain cells): the last expression of a cell is shown as Jupyter shows it.
RUN = """
import ast, json, sys
import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt
shown, names = [], {}
for source in json.load(open(sys.argv[1])):
    body = ast.parse(source).body
    last = body.pop() if isinstance(body[-1], ast.Expr) else None
    exec(compile(ast.Module(body, []), "cell", "exec"), names)
    value = eval(compile(ast.Expression(last.value), "cell", "eval"), names) if last else None
    png = value._repr_png_().hex()[:8] if hasattr(value, "_repr_png_") else ""
    html = value._repr_html_() if hasattr(value, "_repr_html_") else ""
    shown.append({"png": png, "html": html, "text": repr(value), "figures": len(plt.get_fignums())})
    plt.close("all")
json.dump(shown, open("shown.json", "w"))
"""


def test_the_notebook_runs_in_order(project: Project):
    notebook = json.loads((ROOT / "docs/first_look.ipynb").read_text("utf-8"))
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] for cell in notebook["cells"] if cell["cell_type"] == "code")
    (project.root / "docs").mkdir()
    (project.root / "docs/cells.json").write_text(json.dumps(cells))
    (project.root / "docs/run.py").write_text(RUN)
    before = (project.root / "params.yaml").read_text()
    done = project.run(
        "bash", "-c", f"cd docs && {sys.executable} run.py cells.json", PYTHONPATH=str(project.root / "src")
    )
    shown = json.loads((project.root / "shown.json").read_text())
    assert len(shown) == len(cells)
    assert shown[1]["png"] == "89504e47"  # the radiograph that draws itself
    assert "image_id" in shown[2]["text"]
    assert sum(one["figures"] for one in shown) == 2
    assert "<table" in shown[4]["html"]
    assert "mirrored" in done.stdout
    assert "dice_all" in shown[-1]["html"]
    assert "mirrored" in project.dvc("exp", "list", "--name-only").stdout
    assert (project.root / "params.yaml").read_text() == before
