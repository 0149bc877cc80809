"""One full configuration: what a top-level row of MLflow stands for, and what the row says of it."""

from __future__ import annotations

import getpass
import json
import logging
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mlflow.entities import Dataset, DatasetInput, InputTag

from pneumoseg import __version__
from pneumoseg.config import Params
from pneumoseg.config.flat import inline, leaves
from pneumoseg.shared import fingerprints
from pneumoseg.shared.layout import Layout
from pneumoseg.shared.passwords import masked
from pneumoseg.shared.tables import METADATA, read_table

logger = logging.getLogger(__name__)

DESCRIPTION = "mlflow.note.content"  # the tag that MLflow shows as text
PARAM_LIMIT = 6000  # characters; MLflow cuts longer ones without a word
_CUT = " … (cut; whole in the artifact params.yaml)"
DVC_TAGS = {"DVC_EXP_NAME": "dvc.exp_name", "DVC_EXP_BASELINE_REV": "dvc.baseline_rev", "DVC_STAGE": "dvc.stage"}


@dataclass(frozen=True)
class Configuration:
    """One full configuration.

    Attributes:
        root: the folder with params.yaml, dvc.yaml, metrics/ and what there is of data/.
        params: all parameters.
        key: see fingerprints.config_key.
        data: see fingerprints.data_fingerprint.
        tags: where it comes from (git, DVC), as MLflow tags.
    """

    root: Path
    params: Params
    key: str
    data: str
    tags: Mapping[str, str]

    @classmethod
    def here(cls, root: Path, params: Params) -> Configuration:
        """The configuration of a stage that runs in ``root``."""
        tags = {tag: os.environ[name] for name, tag in DVC_TAGS.items() if os.environ.get(name)}
        return cls.of(root, params, git_tags(root) | tags)

    @classmethod
    def of(cls, root: Path, params: Params, tags: Mapping[str, str]) -> Configuration:
        """The configuration of files in ``root``."""
        key = fingerprints.config_key(root, params.model_dump(mode="json"))
        data = fingerprints.data_fingerprint(root, params.data.more)
        code = {"pneumoseg.version": __version__, "code_fingerprint": fingerprints.pipeline_code(root)}
        return cls(root, params, key, data, {**code, **tags})

    @property
    def layout(self) -> Layout:
        """Where its files lie."""
        return Layout(self.root)

    @property
    def name(self) -> str:
        """The experiment's name, else architecture and encoder."""
        return self.tags.get("dvc.exp_name") or f"{self.params.model.architecture}-{self.params.model.encoder}"

    def row_params(self) -> dict[str, str]:
        """The parameters of its row by dotted name (``model.encoder``); lists as JSON, text as it is."""
        sections = self.params.model_dump(mode="json", exclude=set(fingerprints.UNTRACKED_SECTIONS))
        values = {name: value for name, value in leaves(sections) if not isinstance(value, dict)}
        texts = {name: value if isinstance(value, str) else inline(value) for name, value in values.items()}
        return {
            name: text if len(text) <= PARAM_LIMIT else text[: PARAM_LIMIT - len(_CUT)] + _CUT
            for name, text in texts.items()
        }

    def row_tags(self) -> dict[str, str]:
        """The tags of its row."""
        tags = {
            "config_key": self.key,
            "data_fingerprint": self.data,
            "mlflow.source.name": "pneumoseg",
            "mlflow.source.type": "PROJECT",
            **self.tags,
        }
        phantom = holds_phantoms(self.layout)
        if phantom is not None:
            tags["phantom"] = "true" if phantom else "false"
        if phantom:
            tags[DESCRIPTION] = self.description()
        try:
            tags["mlflow.user"] = getpass.getuser()
        except (KeyError, OSError):  # a container without an account
            logger.debug("no user name")
        return tags

    def description(self, verdict: str = "") -> str:
        """What MLflow shows at the head of its row: whether the data are phantoms, and how its figures are judged."""
        mark = "**Phantom data.** These figures say nothing about patients." if holds_phantoms(self.layout) else ""
        return "\n\n".join(part for part in (mark, verdict) if part)

    def dataset(self) -> DatasetInput:
        """The data set as MLflow's entity: name, digest, source."""
        source = masked(self.params.data.root)
        profile = {"metadata": "data/metadata.csv", "annotations": masked(self.params.data.annotations)}
        dataset = Dataset(
            name=Path(source).name or source,
            digest=self.data,
            source_type="local",
            source=json.dumps({"uri": source}),
            profile=json.dumps(profile),
        )
        return DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])


def git_tags(root: Path) -> dict[str, str]:
    """Commit of the code and whether pipeline or code differ from it; nothing where there is no git."""
    git = shutil.which("git")
    if git is None:
        return {}

    def output(*arguments: str) -> str | None:
        done = subprocess.run([git, "-C", os.fspath(root), *arguments], capture_output=True, text=True, check=False)  # noqa: S603
        return done.stdout.strip() if done.returncode == 0 else None

    commit, changes = output("rev-parse", "HEAD"), output("status", "--porcelain", "--", "src", "stages", "dvc.yaml")
    if commit is None:
        return {}
    return {"mlflow.source.git.commit": commit, "git.dirty": "true" if changes else "false"}


def holds_phantoms(layout: Layout) -> bool | None:
    """Whether synthetic images are among those of data/metadata.csv; None where the table is not here."""
    if not layout.metadata.is_file():
        return None
    return bool(read_table(layout.metadata, {"phantom": METADATA["phantom"]})["phantom"].fillna(0).any())
