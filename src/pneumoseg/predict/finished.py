"""Where a killed prediction goes on: finished maps, kept outside the output folder, which DVC empties before a run."""

from __future__ import annotations

import json
import logging
import os
import shutil
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from pneumoseg.shared.files import atomic_path

logger = logging.getLogger(__name__)


class Finished:
    """The maps of an unfinished prediction, in a folder that belongs to one fingerprint of models, data and code.

    A map is a second name (hard link) of the one in the output folder, or a copy where the file system has no links. A
    line of the journal is written after the files of its batch, with their checksums: what a kill, or a power cut,
    left half-written does not count. Whole batches count, so that the others are made of the same images as in an
    unbroken run, and come out byte for byte the same.
    """

    def __init__(self, folder: Path | None) -> None:
        """Read what is there.

        Args:
            folder: below .resume/; None: nothing is kept.
        """
        self._folder = folder
        self._scores: dict[str, float] = {}
        if folder is None:
            return
        folder.mkdir(parents=True, exist_ok=True)
        lines = [line for line in _lines(self._journal) if self._holds(line)]
        with atomic_path(self._journal) as temporary:  # without a torn last line, after which others could not follow
            temporary.write_text("".join(f"{json.dumps(line)}\n" for line in lines), "utf-8")
        self._scores = {image: float(score) for line in lines for image, score in line["probabilities"].items()}
        if self._scores:
            logger.info("resuming after %d images (delete %s to start afresh)", len(self._scores), folder)

    @property
    def _journal(self) -> Path:
        return (self._folder or Path()) / "journal.jsonl"

    def take(self, batch: Sequence[str], out: Path) -> Mapping[str, float] | None:
        """Put the maps of a finished batch into ``out``; their image probabilities, or None where it is not finished.

        Args:
            batch: image ids; batches are the same in every run of a fingerprint.
            out: where <image_id>.png go.
        """
        if self._folder is None or not all(image_id in self._scores for image_id in batch):
            return None
        for image_id in batch:
            _link(self._folder / f"{image_id}.png", out / f"{image_id}.png")
        return {image_id: self._scores[image_id] for image_id in batch}

    def add(self, scores: Mapping[str, float], out: Path) -> None:
        """Keep a batch whose maps lie in ``out``."""
        if self._folder is None:
            return
        sums = {}
        for image_id in scores:
            _link(out / f"{image_id}.png", self._folder / f"{image_id}.png")
            sums[image_id] = zlib.crc32((out / f"{image_id}.png").read_bytes())
        with self._journal.open("a", encoding="utf-8") as file:
            # repr of a float, as JSON has it, gives the same float back.
            file.write(f"{json.dumps({'probabilities': dict(scores), 'checksums': sums})}\n")

    def _holds(self, line: Mapping[str, Mapping[str, float]]) -> bool:
        folder = self._folder or Path()
        paths = {folder / f"{image}.png": checksum for image, checksum in line["checksums"].items()}
        return all(path.is_file() and zlib.crc32(path.read_bytes()) == checksum for path, checksum in paths.items())

    def delete(self) -> None:
        """Forget: the prediction ended well."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


@contextmanager
def finished_maps(folder: Path | None) -> Iterator[Finished]:
    """Give what is finished; delete it when the block ends well.

    Two runs of one fingerprint (the same experiment queued twice) come one after the other.
    """
    if folder is None:
        yield Finished(None)
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.with_suffix(".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.info("waiting for another prediction of the same networks and images (%s)", lock.lock_file)
        lock.acquire()
    try:
        finished = Finished(folder)
        yield finished
        finished.delete()
        Path(lock.lock_file).unlink(missing_ok=True)
    finally:
        lock.release()


def _lines(journal: Path) -> Iterator[dict[str, dict[str, float]]]:
    for text in journal.read_text("utf-8", errors="replace").splitlines() if journal.is_file() else ():
        try:
            yield json.loads(text)
        except json.JSONDecodeError:  # the last one, torn by a kill
            return


def _link(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        with atomic_path(target) as temporary:
            shutil.copyfile(source, temporary)
