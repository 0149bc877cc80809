"""Many files through one reader: decoded by processes that may crash, answered here, finished ones kept."""

from __future__ import annotations

import csv
import json
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumoseg.radiographs.reading import Radiograph
from pneumoseg.radiographs.rules import Refusal
from pneumoseg.shared import interruption, rle
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.files import atomic_path, read_json, write_json
from pneumoseg.shared.parallel import as_done
from pneumoseg.shared.progress_lines import follow
from pneumoseg.use.acceptance import accept
from pneumoseg.use.answers import Reading, Refused
from pneumoseg.use.bundle import Bundle
from pneumoseg.use.intake import Input
from pneumoseg.use.results import RESULTS, write_results

if TYPE_CHECKING:
    from pneumoseg.use.reader import Reader

logger = logging.getLogger(__name__)

RUN_FILE = "run.json"
#: Rows of a run under way, a line each: what a killed one has finished.
UNFINISHED_FILE = ".unfinished.jsonl"


@dataclass(frozen=True)
class Job:
    """What is asked for.

    Attributes:
        out: folder of one subfolder an image, and run.json.
        results: keys of results.RESULTS.
        csv: where a table ImageId,EncodedPixels goes; None: nowhere.
        workers: processes that decode files; 0: none, so that a decoder that crashes ends everything.
        overwrite: read again what is finished.
    """

    out: Path
    results: tuple[str, ...]
    csv: Path | None = None
    workers: int | None = 1
    overwrite: bool = False


def read_files(inputs: Sequence[Input], bundle: Bundle, device: str, job: Job) -> int:
    """Read files and write their results; returns the exit code: 0 all read, 3 some refused, 1 none read.

    What is finished of the same files by the same bundle is kept, so that a killed run goes on.

    Raises:
        DataError: the output cannot be used, or a network is damaged.
    """
    job.out.mkdir(parents=True, exist_ok=True)
    asked = {"model": bundle.about.id, "results": sorted(job.results), "table": job.csv is not None}
    stamps = {item.name: item.stamp() for item in inputs}
    rows = [] if job.overwrite else _finished(job, asked, stamps)
    names = {row["file"] for row in rows}
    if rows:
        logger.info("%d of %d files are finished already; --overwrite reads them again", len(rows), len(inputs))
    waiting = [item for item in inputs if item.name not in names]
    taken = {row["image_id"].casefold() for row in rows if row["accepted"]}
    unfinished = job.out / UNFINISHED_FILE
    with follow(len(waiting), "predict", "image") as bar, unfinished.open("w") as log:
        log.writelines(json.dumps(line) + "\n" for line in (asked, *rows))
        for item, answer in _answers(waiting, bundle, device, job.workers):
            row = {"file": item.name, "stamp": stamps[item.name], **_settle(answer, item, taken, job)}
            if not row["accepted"]:
                logger.warning("%s: refused: %s", item.name, row["reason"])
            log.write(json.dumps(row) + "\n")
            log.flush()
            rows.append(row)
            bar.update()
    order = {item.name: number for number, item in enumerate(inputs)}
    rows.sort(key=lambda row: order[row["file"]])
    write_json(job.out / RUN_FILE, asked | _summary(bundle, rows))
    unfinished.unlink()
    _write_table(job, rows)
    read = sum(row["accepted"] for row in rows)
    logger.info("%d of %d files read; results in %s", read, len(rows), job.out)
    return 0 if read == len(rows) else 3 if read else 1


def _answers(
    items: Sequence[Input], bundle: Bundle, device: str, workers: int | None
) -> Iterator[tuple[Input, Reading | Refused]]:
    """Files are decoded by other processes while torch is imported, networks are loaded and at work."""
    if not items:
        return
    decoding = as_done(partial(_decode, bundle), items, _crashed, workers)
    with ThreadPoolExecutor(1) as pool, interruption.held(), closing(decoding) as decoded:
        loading = pool.submit(_load, bundle, device)
        for index, found in decoded:
            if isinstance(found, Refused):
                yield items[index], found
            else:
                yield items[index], loading.result().answer(found)


def _load(bundle: Bundle, device: str) -> Reader:
    from pneumoseg.use.reader import Reader

    return Reader(bundle, device)


def _decode(bundle: Bundle, item: Input) -> Radiograph | Refused:
    try:
        return accept(item.content(), bundle)
    except Refusal as refusal:
        return Refused(refusal.image_id, refusal.kind, refusal.reason)
    except DataError as error:
        return Refused("", "unreadable", str(error))


def _crashed(item: Input) -> Refused:
    return Refused("", "decoder_crash", f"the process that decoded {item.name} died, twice")


def _settle(answer: Reading | Refused, item: Input, taken: set[str], job: Job) -> dict[str, Any]:
    """Write the results of an answer; gives its row of run.json."""
    if isinstance(answer, Refused):
        return answer.to_json()
    if answer.image_id.casefold() in taken:
        return Refused(answer.image_id, "duplicate", "another file has the same image id; that one was read").to_json()
    taken.add(answer.image_id.casefold())
    source = item.read() if any(RESULTS[name].from_file for name in job.results) else b""
    missing = write_results(job.out / answer.image_id, answer, source, job.results)
    row = {**answer.to_json(), "seconds": round(answer.seconds, 3), "not_written": missing}
    if job.csv is not None:
        row["rle"] = None if answer.mask is None else rle.encode(answer.mask)
    return row


def _finished(job: Job, asked: Mapping[str, Any], stamps: Mapping[str, str]) -> list[dict[str, Any]]:
    """Rows of an earlier run of the same kind, whole or killed, whose file is the same and whose results are there.

    Raises:
        DataError: run.json is no such file.
    """
    whole, killed = job.out / RUN_FILE, job.out / UNFINISHED_FILE
    if killed.is_file():
        lines = killed.read_text("utf-8").split("\n")[:-1]  # the last line is empty, or was not finished
        head, *rows = [json.loads(line) for line in lines] or [{}]
    elif whole.is_file():
        head = read_json(whole)
        if not isinstance(head, dict) or "images" not in head:
            raise DataError(f"{whole}: not written by pneumoseg predict; give another folder to -o")
        rows = head["images"]
    else:
        return []
    if any(head.get(name) != value for name, value in asked.items()):
        return []
    return [
        row
        for row in rows
        if stamps.get(row["file"]) == row["stamp"] and row["accepted"] and (job.out / row["image_id"]).is_dir()
    ]


def _summary(bundle: Bundle, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    refused = Counter(row["kind"] for row in rows if not row["accepted"])
    return {
        "warnings": list(bundle.warnings),
        "read": sum(row["accepted"] for row in rows),
        "positive": sum(bool(row.get("positive")) for row in rows),
        "refused": dict(sorted(refused.items())),
        "images": list(rows),
    }


def _write_table(job: Job, rows: Sequence[dict[str, Any]]) -> None:
    """The competition's table: one row an image that was read and has a mask."""
    if job.csv is None:
        return
    with atomic_path(job.csv) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("ImageId", "EncodedPixels"))
        for row in rows:
            if row["accepted"] and row.get("rle") is not None:
                writer.writerow((row["image_id"], row["rle"]))
