"""One set of disks and one training for all who only read them."""

import pytest

from pneumoseg.shared.layout import Layout
from pneumoseg.train.training import TrainedFold
from tests.train.disks import make_params, train, write_disks


@pytest.fixture(scope="session")
def disks(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    return write_disks(tmp_path_factory.mktemp("disks"))


@pytest.fixture(scope="session")
def unbroken(disks: Layout, tmp_path_factory: pytest.TempPathFactory) -> TrainedFold:
    """Two epochs, never stopped."""
    return train(disks, tmp_path_factory.mktemp("unbroken"), make_params())
