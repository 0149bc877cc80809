"""What may leave a file: ids, hashes, codes, ages."""

import math
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pneumoseg.radiographs import identity
from pneumoseg.shared.errors import ParameterError


def test_a_patient_id_is_an_hmac_that_openssl_agrees_with():
    # printf %s 17d405a3-… | openssl dgst -sha256 -hmac pneumoseg-public-data
    expected = "5772aeedc39431d5"
    key = identity.hash_key({})
    assert identity.keyed_hash("17d405a3-a0d2-4901-b33a-63906aa48d9f", key) == expected
    assert identity.keyed_hash("  17d405a3-a0d2-4901-b33a-63906aa48d9f ", key) == expected


def test_another_key_gives_other_ids_and_an_empty_one_is_refused():
    own = identity.hash_key({"PNEUMOSEG_HASH_KEY": "a secret"})
    assert identity.keyed_hash("P1", own) != identity.keyed_hash("P1", identity.hash_key({}))
    with pytest.raises(ParameterError, match="PNEUMOSEG_HASH_KEY is set but empty"):
        identity.hash_key({"PNEUMOSEG_HASH_KEY": " "})


def test_an_empty_patient_id_stays_empty():
    assert identity.keyed_hash("  ", b"key") == ""


@pytest.mark.parametrize(
    "good", ["ID_0011fe81e", "1.2.276.0.7230010.3.1.4.8323329.1000.1517875165.878027", "-", "a" * 64]
)
def test_ids_that_are_safe_as_file_names(good):
    assert identity.valid_image_id(good)


@pytest.mark.parametrize(
    "bad", ["", "../../x", "..", ".hidden", "a/b", "a\\b", "a b", "a" * 65, "C:x", "é", "a\n", "x\0", "%2e%2e", "١٢"]
)
def test_ids_that_are_not(bad):
    assert not identity.valid_image_id(bad)


@given(st.text())
def test_a_valid_id_never_has_another_character(text):
    if identity.valid_image_id(text):
        assert set(text) <= set(string.ascii_letters + string.digits + "._-")
        assert not text.startswith(".")
        assert 1 <= len(text) <= 64


@pytest.mark.parametrize(
    ("text", "years"),
    [
        ("064Y", 64),
        ("64", 64),
        (" 064y ", 64),
        ("018M", 1.5),
        ("010W", 70 / 365.25),
        ("365D", 365 / 365.25),
        ("000Y", 0),
    ],
)
def test_ages(text, years):
    assert identity.age_years(text) == pytest.approx(years)


@pytest.mark.parametrize("text", ["", "Y", "-5", "abc", "64 years", "1e3", "0x10", "nan", "64Y64"])
def test_what_is_no_age(text):
    assert identity.age_years(text) is None


@given(st.text(max_size=8))
def test_an_age_is_finite_and_not_negative_or_none(text):
    age = identity.age_years(text)
    assert age is None or (math.isfinite(age) and age >= 0)


@pytest.mark.parametrize(
    ("text", "code"), [("PA", "PA"), (" chest ", "CHEST"), ("", ""), ("LL", "LL"), ("A_B 2", "A_B 2")]
)
def test_codes(text, code):
    assert identity.code(text) == code


@pytest.mark.parametrize("text", ["DOE^JANE", "Jane Doe, 12 High Street", "a" * 17, "É", "A\\B", "A\nB", "=1+1"])
def test_what_is_no_code(text):
    assert identity.code(text) is None


def test_sexes():
    assert [identity.sex(text) for text in ("M", " f", "O", "", "male")] == ["M", "F", "O", "", None]


@pytest.mark.parametrize(
    "word",
    [
        "ANONYMOUS",
        "anon",
        "None",
        "unknown",
        "NA",
        "N/A",
        "0",
        "000000",
        "xxxx",
        " Anonymous^Patient ",
        "-",
        "?",
        "Anónimo",
    ],
)
def test_words_for_nobody(word):
    assert identity.is_placeholder(word)


@pytest.mark.parametrize(
    "number", ["P1", "ANON0017", "10", "00000010", "NN", "Nana", "Patient 3", "X1", "unk-5", "123456"]
)
def test_numbers_and_pseudonyms_are_somebodys(number):
    assert not identity.is_placeholder(number)
