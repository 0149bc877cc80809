"""pneumoseg predict: radiographs in, answers out, by a model that was trained here or elsewhere."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any

MODEL = "folder of a bundle, an MLflow run (id, runs:/id) or models:/pneumoseg@champion (default: data/bundle)"
#: Names that only MLflow knows.
TRACKED = re.compile(r"models:/.+|runs:/.+|[0-9a-f]{32}")


def register(subparsers: Any) -> None:
    """Add the command to the parser of ``pneumoseg``."""
    parser = subparsers.add_parser(
        "predict",
        help="what a trained model says of radiographs",
        description="Read DICOM, PNG and JPEG files, folders of them and zip archives. Each image that is answered "
        "gets a folder in OUT, OUT/run.json tells of all. Exit code 0: all read, 3: some refused, 1: none read, 2: "
        "wrong usage. Research use only, not a medical device.",
    )
    parser.add_argument("inputs", type=Path, nargs="*", metavar="INPUT", help="file, folder or zip archive")
    parser.add_argument("-o", "--out", type=Path, metavar="OUT", help="folder of the results")
    parser.add_argument(
        "--model",
        default="data/bundle",
        help=MODEL,
    )
    parser.add_argument(
        "--write",
        default="mask,overlay,json",
        help="of mask, map, overlay, json, rle, seg, sc (default: mask,overlay,json)",
    )
    parser.add_argument("--csv", type=Path, metavar="TABLE.csv", help="run-length codes of all masks in one table")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--workers", type=int, default=1, help="processes that decode files (default: 1)")
    parser.add_argument("--overwrite", action="store_true", help="read again what is finished in OUT")
    parser.add_argument("--self-test", action="store_true", help="only repeat the case that the model was made with")
    parser.set_defaults(run=run, usage=parser.error)


def run(args: argparse.Namespace) -> int:
    """Read everything; returns the exit code."""
    from pneumoseg.use.bundle import Bundle
    from pneumoseg.use.intake import find_inputs
    from pneumoseg.use.reading_files import Job, read_files
    from pneumoseg.use.results import RESULTS

    results = tuple(dict.fromkeys(filter(None, args.write.split(","))))
    unknown = [name for name in results if name not in RESULTS]
    if unknown:
        args.usage(f"--write {unknown[0]}: not one of {', '.join(RESULTS)}")
    if args.workers < 0:
        args.usage(f"--workers {args.workers}: at least 0")
    bundle = Bundle.read(bundle_folder(args.model))
    if args.self_test:
        return _self_test(bundle, args.device)
    if not args.inputs or args.out is None:
        args.usage("give INPUT, and OUT with -o")
    job = Job(args.out, results, args.csv, args.workers, args.overwrite)
    return read_files(find_inputs(args.inputs), bundle, args.device, job)


def bundle_folder(model: str) -> Path:
    """The folder that ``--model`` means; MLflow, which takes seconds to import, only where it is asked.

    Raises:
        DataError: MLflow has no such model.
        TrackingError: the store cannot be used.
    """
    if Path(model).exists() or not TRACKED.fullmatch(model):
        return Path(model)
    from pneumoseg.config import load_params
    from pneumoseg.config.tracking import TrackingParams
    from pneumoseg.track.registered import tracked_bundle

    params = Path("params.yaml")
    tracking = load_params(params).tracking if params.is_file() else TrackingParams()
    return tracked_bundle(Path.cwd(), tracking, model)


def _self_test(bundle: Any, device: str) -> int:
    from pneumoseg.shared.errors import DataError
    from pneumoseg.use.reader import Reader

    different = Reader(bundle, device).self_test()
    if different:
        raise DataError(f"{bundle.folder}: the self-test gives another answer here: {'; '.join(different)}")
    sys.stdout.write(f"{bundle.folder}: the self-test gives the answer that it gave where the model was made\n")
    return 0
