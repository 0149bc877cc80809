"""Where a killed prediction goes on: outside the output folder, which DVC empties before a run."""

from __future__ import annotations

import json
import logging
import shutil
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from pneumoseg.shared.files import atomic_path

logger = logging.getLogger(__name__)


class Finished:
    """Predictions in the making, in a folder that belongs to one fingerprint of networks, images and code.

    A batch counts once its record is there, written after its maps, with their checksums: what a kill, or a power cut,
    left half-written does not. Whole batches count, so that the others are made of the same images as in an unbroken
    run, and come out byte for byte the same.

    Attributes:
        out: what becomes data/predictions.
    """

    def __init__(self, folder: Path) -> None:
        """Go on with what is there.

        Args:
            folder: below .resume/.
        """
        self.out = folder / "predictions"
        self._batches = folder / "batches"
        self.out.mkdir(parents=True, exist_ok=True)
        count = len(list(self._batches.glob("*.json")))
        if count:
            logger.info("resuming after %d batches (delete %s to start afresh)", count, folder)

    def take(self, batch: Sequence[str]) -> Mapping[str, Any] | None:
        """What is said of the images of a finished batch, whose maps are in ``out``; None where it is not finished.

        Args:
            batch: image ids; batches are the same in every run of a fingerprint.
        """
        try:
            record = json.loads(self._record(batch).read_text("utf-8"))
            whole = all(_checksum(self.out / name) == checksum for name, checksum in record["checksums"].items())
        except (OSError, ValueError):  # not there, or torn by a power cut
            return None
        said: dict[str, Any] = record["said"]
        return said if whole else None

    def add(self, said: Mapping[str, Any], maps: Iterable[Path]) -> None:
        """Keep what is said of the images of a batch, whose maps lie in ``out``."""
        checksums = {path.relative_to(self.out).as_posix(): _checksum(path) for path in maps}
        with atomic_path(self._record(list(said))) as temporary:
            # repr of a float, as JSON has it, gives the same float back.
            temporary.write_text(json.dumps({"said": said, "checksums": checksums}), "utf-8")

    def _record(self, batch: Sequence[str]) -> Path:
        return self._batches / f"{batch[0]}.json"


def _checksum(path: Path) -> int:
    return zlib.crc32(path.read_bytes())


@contextmanager
def finished_in(folder: Path, out: Path) -> Iterator[Finished]:
    """Give what is finished; when the block ends well it takes the place of ``out``.

    Two runs of one fingerprint (the same experiment queued twice) come one after the other.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")) as lock:
        finished = Finished(folder)
        yield finished
        shutil.rmtree(out, ignore_errors=True)
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(finished.out, out)
        shutil.rmtree(folder)
        Path(lock.lock_file).unlink(missing_ok=True)
