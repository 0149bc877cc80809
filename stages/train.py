"""Stage train: one network, trained on every fold but one."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from typing import TYPE_CHECKING

from pneumoseg.shared.layout import Layout
from pneumoseg.stage import run_stage

if TYPE_CHECKING:
    from pneumoseg.config import Params

MAIN = Layout()


def work(fold: int, params: Params, layout: Layout = MAIN) -> None:
    """Train fold ``fold`` into data/models/fold<k>/, following it in MLflow."""
    from pneumoseg.shared.fingerprints import project_root, train_key
    from pneumoseg.shared.processes import is_first_process
    from pneumoseg.track import fold_run
    from pneumoseg.train.fold_data import load_fold
    from pneumoseg.train.resume import Checkpoint
    from pneumoseg.train.training import train_fold, write_fold

    data = load_fold(layout, fold, params)
    key = train_key(layout.root, params.model_dump(mode="json"), fold, data.digest)
    # Both folders belong to the repository itself, also where DVC runs this stage in a temporary copy.
    home = project_root(layout.root)
    checkpoint = Checkpoint(home / ".resume" / key, params.runtime.resume_interval_seconds)
    with fold_run(layout, params, fold, key) as run:
        trained = train_fold(data, params, home / ".cache/arrays", checkpoint, run.log_epoch)
        if not is_first_process():
            return  # of several processes that trained together, one writes
        write_fold(trained, layout, {"fold": fold, "train_key": key, "data": data.digest})
        run.finish(trained.summary, trained.timing, trained.history)
    checkpoint.delete()


def main(argv: list[str] | None = None) -> int:
    """Run the stage; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fold", type=int, required=True, help="the fold that is left out for validation")
    return run_stage(partial(work, parser.parse_args(argv).fold))


if __name__ == "__main__":
    sys.exit(main())
