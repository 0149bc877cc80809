"""What the tests of predict share."""

from collections.abc import Iterator

import pytest

from pneumoseg.shared.registry import FAMILIES
from tests.predict.network_stubs import ImageFamily


@pytest.fixture
def without_maps() -> Iterator[None]:
    """A family whose networks give no map."""
    with FAMILIES.temporarily("image_only", ImageFamily()):
        yield
