"""Processes that load images where /dev/shm is small, as in a container: torch's words become ours."""

from types import SimpleNamespace

import pytest

from pneumoseg.shared.errors import TrainingError
from pneumoseg.train.dataset import EpochLoader


class Failing:
    """A loader whose processes fail, in torch's words."""

    num_workers = 3

    def __init__(self, text):
        self.text = text

    def __iter__(self):
        yield "first"
        raise RuntimeError(self.text)


def failing(text):
    loader = EpochLoader(SimpleNamespace(), 0, False)
    loader._loader = Failing(text)
    return loader.epoch([[]])


@pytest.mark.parametrize(
    "text",
    [
        "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's workers are out of "
        "shared memory. Please try to raise your shared memory limit.",
        "Caught RuntimeError in DataLoader worker process 0.\n(…)RuntimeError: unable to allocate shared memory(shm) "
        "for file </torch_7_1_0>: No space left on device (28)",
    ],
)
def test_full_shared_memory_says_what_to_set(text):
    epoch = failing(text)
    assert next(epoch) == "first"
    with pytest.raises(TrainingError, match=r"the 3 processes .*runtime.workers.*--shm-size"):
        next(epoch)


def test_other_errors_keep_their_traceback():
    with pytest.raises(RuntimeError, match="of size 3"):
        list(failing("Caught RuntimeError in DataLoader worker process 0.\nstack expects each tensor of size 3"))
