"""Stage train: one network, trained on every fold but one."""

import argparse
import sys
from functools import partial
from pathlib import Path

from pneumoseg.config import Params
from pneumoseg.stage import run_stage


def work(fold: int, params: Params) -> None:
    """Train fold ``fold`` into data/models/fold<k>/, following it in MLflow."""
    from pneumoseg.networks.weights import weights_path
    from pneumoseg.shared.fingerprints import project_root, train_key
    from pneumoseg.shared.layout import Layout
    from pneumoseg.shared.processes import is_first_process
    from pneumoseg.track import fold_run
    from pneumoseg.train.fold_data import load_fold
    from pneumoseg.train.resume import Checkpoint
    from pneumoseg.train.training import train_fold, write_fold

    weights = weights_path(params.model.weights)
    data = load_fold(Path("data/splits"), Path("data/images"), Path("data/masks"), fold, weights, params.train)
    key = train_key(Path(), params.model_dump(mode="json"), fold, data.digest)
    # Both folders belong to the repository itself, also where DVC runs this stage in a temporary copy.
    checkpoint = Checkpoint(project_root() / ".resume" / key, params.runtime.resume_interval_seconds)
    with fold_run(Layout(), params, fold, key) as run:
        trained = train_fold(
            data, params.model, params.train, params.augment, params.runtime,
            scratch=project_root() / ".cache" / "arrays", checkpoint=checkpoint, on_epoch=run.log_epoch,
        )  # fmt: skip
        if not is_first_process():
            return  # of several processes that trained together, one writes
        run_info = {"fold": fold, "train_key": key, "data": data.digest}
        metrics = Path("metrics/train")
        write_fold(
            trained,
            Path(f"data/models/fold{fold}"),
            metrics / f"fold{fold}.csv",
            metrics / f"fold{fold}.json",
            run_info,
        )
        run.finish(trained.summary, trained.timing, trained.history)
    checkpoint.delete()


def main(argv: list[str] | None = None) -> int:
    """Run the stage; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fold", type=int, required=True, help="the fold that is left out for validation")
    return run_stage(partial(work, parser.parse_args(argv).fold))


if __name__ == "__main__":
    sys.exit(main())
