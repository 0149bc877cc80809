"""Run all benchmarks, or the named ones: python -m benchmarks extraction loading."""

import importlib
import platform
import sys

import torch

NAMES = (
    *("extraction", "augmentation", "loading", "training", "validation", "predicting", "evaluation", "using"),
    *("memory", "gpu"),
)


def main() -> int:
    """Print the table of each benchmark; returns the exit code."""
    if sys.argv[1:2] in (["real"], ["choosing"], ["phantoms"]):  # these take arguments
        print(importlib.import_module(f"benchmarks.{sys.argv[1]}").main(sys.argv[2:]))
        return 0
    wanted = sys.argv[1:] or NAMES
    unknown = [name for name in wanted if name not in NAMES]
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are {', '.join(NAMES)}", file=sys.stderr)
        return 2
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    print(f"{platform.machine()}, {torch.get_num_threads()} cores, {gpu}, torch {torch.__version__}\n", flush=True)
    for name in wanted:
        print(importlib.import_module(f"benchmarks.{name}").main(), end="\n\n", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
