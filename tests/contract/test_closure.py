"""What a stage imports, directly or not, is among its dependencies in dvc.yaml: DVC misses no edit of code."""

import ast
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import grimp
import pytest
from ruamel.yaml import YAML

from pneumoseg.shared import registry

ROOT = Path(__file__).resolve().parents[2]
SRC = ROOT / "src"
#: Rooms that are no dependency of any stage, nor is what they import.
EXEMPT = {
    "config": "each stage depends on its sections of params.yaml; a check of their values changes no output",
    "track": "copies files to MLflow; no output depends on it",
    "stage": "starts a stage and ends it: messages and exit codes",
    "": "pneumoseg/__init__.py holds the version, and what notebooks ask for",
}
#: Registries by name; who mentions one may call whatever is registered there, so all of its package belongs to him.
PACKAGES = {name: entry._package for name, entry in vars(registry).items() if isinstance(entry, registry.Registry)}
#: An edit here must never retrain nor predict anew.
AFTER_PREDICTION = {"commands", "compare", "evaluate", "report", "stats", "track", "tune", "use"}


def stages() -> dict[str, dict[str, Any]]:
    content = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
    return {name: stage.get("do", stage) for name, stage in content.items()}


STAGES = stages()


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("pneumoseg", cache_dir=None)


def room(module: str) -> str:
    return f"{module}.".split(".")[1]


def file_of(module: str) -> Path:
    path = SRC / module.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def imported(source: str, graph: grimp.ImportGraph) -> set[str]:
    """Modules that the source of a stage script names, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found & graph.modules


def closure(start: Iterable[str], graph: grimp.ImportGraph) -> set[str]:
    """All that is imported from there on: lazily, by a registry, and as a package around a module."""
    seen: set[str] = set()
    waiting = set(start)
    while waiting:
        module = waiting.pop()
        if module in seen or room(module) in EXEMPT:
            continue
        seen.add(module)
        waiting |= graph.find_modules_directly_imported_by(module)
        waiting.add(module.rpartition(".")[0])
        if module != registry.__name__:
            for name in re.findall(rf"\b({'|'.join(PACKAGES)})\b", file_of(module).read_text()):
                waiting |= {PACKAGES[name], *graph.find_descendants(PACKAGES[name])}
    return seen


def script_of(stage: str) -> str:
    return STAGES[stage]["cmd"].split()[2]


def modules_of(stage: str, graph: grimp.ImportGraph) -> set[str]:
    return closure(imported((ROOT / script_of(stage)).read_text(), graph), graph)


@pytest.mark.parametrize("stage", STAGES)
def test_all_that_a_stage_imports_is_among_its_dependencies_and_no_folder_beside(stage: str, graph: grimp.ImportGraph):
    deps = [dep for dep in STAGES[stage]["deps"] if dep.startswith(("src/", "stages/"))]
    needed = [Path(script_of(stage)), *(file_of(module).relative_to(ROOT) for module in modules_of(stage, graph))]
    assert sorted(str(file) for file in needed if not any(file.is_relative_to(dep) for dep in deps)) == []
    assert [dep for dep in deps if not any(file.is_relative_to(dep) for file in needed)] == []


@pytest.mark.parametrize("stage", ["phantom", "extract", "masks", "split", "train", "predict"])
def test_what_comes_after_prediction_retrains_nothing(stage: str, graph: grimp.ImportGraph):
    assert {room(module) for module in modules_of(stage, graph)} & AFTER_PREDICTION == set()


def test_lazy_imports_packages_and_registries_are_followed(graph: grimp.ImportGraph):
    script = "def work():\n    from pneumoseg.train.training import train_fold\n"
    found = closure(imported(script, graph), graph)
    assert {"pneumoseg.train", "pneumoseg.train.training", "pneumoseg.networks.losses"} <= found
    assert not {"config", "track", "stage"} & {room(module) for module in found}
    assert not any(room(module) in AFTER_PREDICTION for module in found)
