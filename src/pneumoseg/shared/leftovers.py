"""What earlier experiments left of folds and external sets that params.yaml no longer names.

DVC keeps outputs of stages that are gone from its matrix, and hashes the folders that hold them as one dependency, so
that leftovers would make dvc.lock differ from a clean run's. Each is removed by the stage that reads the list of names
and reads nothing below the folder; models stay in DVC's cache, figures in git, if they were committed.
"""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Container, Iterable, Sequence
from pathlib import Path

from pneumoseg.shared.layout import Layout

logger = logging.getLogger(__name__)


def remove_stale_folds(layout: Layout, train_folds: Sequence[int]) -> None:
    """Remove models and curves of folds that are not in split.train_folds; by stage split."""
    wanted = {f"fold{fold}" for fold in train_folds}
    for path in sorted([*layout.models.glob("fold*"), *layout.training.glob("fold*")]):
        if re.fullmatch(r"fold\d+", path.stem) and path.stem not in wanted:
            logger.info("%s is not of split.train_folds: removed from the workspace", path)
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def remove_stale_sites(layout: Layout, external: Container[str]) -> None:
    """Remove what there is of sets that are not in evaluate.external; by stage evaluate. Files beside them stay."""
    _remove_others((layout.metrics / "external", layout.data / "external", layout.data / "external_predictions"),
                   external, "evaluate.external")  # fmt: skip


def remove_stale_more(layout: Layout, more: Container[str]) -> None:
    """Remove what there is of sets that are not in data.more; by stage masks. Files beside them stay."""
    _remove_others((layout.metrics / "more", layout.data / "more"), more, "data.more")


def _remove_others(folders: Iterable[Path], names: Container[str], key: str) -> None:
    for folder in folders:
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path.is_dir() and path.name not in names:
                logger.info("%s is of no set in %s: removed from the workspace", path, key)
                shutil.rmtree(path)
