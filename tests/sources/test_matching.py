"""Ids of a table in another spelling than the images'."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pneumoseg.sources.matching import other_spellings


@pytest.mark.parametrize(
    ("named", "known", "found"),
    [
        (["a", "b.dcm", "c.DCM", "d.png"], ["a", "b", "c", "d"], {"b.dcm": "b", "c.DCM": "c", "d.png": "d"}),
        (["ID_0A.dcm", "id_1b"], ["ID_0a", "ID_1B"], {"ID_0A.dcm": "ID_0a", "id_1b": "ID_1B"}),
        (["a", "a.dcm"], ["a"], {"a.dcm": "a"}),  # rows of one image in two spellings
        (["a.dcm"], ["a.dcm", "a"], {}),  # an id that is an image's
        (["AB"], ["ab", "aB"], {}),  # two images
        (["AB", "Ab"], ["ab"], {}),  # two ids
        (["ab", "AB"], ["ab"], {}),  # the other one may be an image that is not there
        (["1.2.3", "1.2.3.4"], ["1.2"], {}),
        (["a.dcm.dcm", "adcm", "a.txt"], ["a"], {}),
    ],
)
def test_only_one_image_can_be_meant(named, known, found):
    assert other_spellings(named, known) == found


IDS = st.sets(st.from_regex(r"[abAB1]{1,2}(\.dcm)?", fullmatch=True), max_size=8)


@given(IDS, IDS)
def test_images_keep_their_ids(named, known):
    found = other_spellings(named, known)
    assert not found.keys() & known
    assert set(found.values()) <= known
