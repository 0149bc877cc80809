"""What may leave an image file: a list of attributes, ids that are safe as file names, patients as keyed hashes.

Only the attributes listed here are read at all. Names, dates, institutions and free text are not among them, so no
output can hold them. Two things stay the user's own care: the name of a file, which column ``source`` repeats, and
letters burned into the pixels (counted in the flag burned_in_annotation, where the file admits them).
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Mapping, Sequence

from pneumoseg.shared.errors import ParameterError
from pneumoseg.shared.tables import IMAGE_ID

HASH_KEY_VARIABLE = "PNEUMOSEG_HASH_KEY"
#: The key for public data, whose PatientIDs are pseudonyms already. Anyone can repeat its hashes: for other data set
#: your own key in the environment, and keep it if the same patients shall get the same ids again.
PUBLIC_HASH_KEY = "pneumoseg-public-data"

#: Every attribute that is read, by keyword, besides the pixel data (PS3.6); nothing else of a file is looked at.
ALLOWED_ATTRIBUTES = (
    "SpecificCharacterSet",
    "SyntheticData",
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "Modality",
    "PatientID",
    "PatientSex",
    "PatientAge",
    "BodyPartExamined",
    "ViewPosition",
    "ImagerPixelSpacing",
    "EstimatedRadiographicMagnificationFactor",
    "PixelSpacingCalibrationType",
    "PatientOrientation",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "PixelSpacing",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "BurnedInAnnotation",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
    "RescaleSlope",
    "RescaleIntercept",
    "ModalityLUTSequence",
    "VOILUTSequence",
)

#: PatientIDs that say that there is none, without signs and blanks, in lower case. Each is at most a word of one of the
#: languages of the public reports; whatever could be somebody's number or initials is left out.
_PLACEHOLDERS = frozenset(
    (
        *(
            "anon",
            "anonym",
            "anonyme",
            "anonymise",
            "anonymised",
            "anonymisiert",
            "anonymize",
            "anonymized",
            "anonymous",
        ),
        *("anonimo", "anónimo", "anonpatient", "anonymizedpatient", "anonymisedpatient", "anonymouspatient"),
        *("blank", "deid", "deidentified", "deleted", "desconocido", "empty", "hidden", "id", "inconnu", "masked"),
        *("missing", "na", "nan", "nil", "noid", "nopatientid", "none", "notapplicable", "notavailable", "null"),
        *("patient", "patientid", "redacted", "removed", "unbekannt", "undefined", "unk", "unknown", "unknownid"),
        *("unknownpatient", "unspecified"),
    )
)
_FILLER = re.compile(r"0*|x*")

_CODE = re.compile(r"[A-Z0-9_ ]{1,16}")
_AGE = re.compile(r"(\d{1,4}(?:\.\d{1,3})?)([YMWD]?)")
_YEARS = {"": 1.0, "Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}
_SEXES = ("M", "F", "O")
_MAX_SPACING_MM = 10.0


def hash_key(environment: Mapping[str, str] = os.environ) -> bytes:
    """The key of patient ids: PNEUMOSEG_HASH_KEY, else the documented one for public data.

    Raises:
        ParameterError: the variable is set but empty, as a secret that was not passed on is.
    """
    key = environment.get(HASH_KEY_VARIABLE, PUBLIC_HASH_KEY)
    if not key.strip():
        raise ParameterError(
            f"{HASH_KEY_VARIABLE} is set but empty: give it a secret, or unset it to use the public key for public data"
        )
    return key.encode("utf-8", "surrogateescape")


def keyed_hash(number: str, key: bytes) -> str:
    """The first 16 hexadecimal digits of HMAC-SHA256 over a stripped patient or study id; empty stays empty.

    Empty ids are many unknown patients, not one: they must never share a hash.
    """
    plain = number.strip().encode("utf-8", "surrogatepass")
    return hmac.new(key, plain, hashlib.sha256).hexdigest()[:16] if plain else ""


def is_placeholder(number: str) -> bool:
    """Whether a PatientID is a word for nobody, such as ANONYMOUS, none, N/A, 0 or XXXX; an empty one is none, too."""
    plain = re.sub(r"[\W_]", "", number.casefold())
    return plain in _PLACEHOLDERS or _FILLER.fullmatch(plain) is not None


def valid_image_id(text: str) -> bool:
    """Whether an id can be a file name: SIIM's ``ID_…`` can, ``../../x`` or ``.hidden`` cannot."""
    return IMAGE_ID.fullmatch(text) is not None


def code(text: str) -> str | None:
    """A code string (VR CS: capitals, digits, blank, underscore, up to 16), upper-cased; None for anything else."""
    stripped = text.strip().upper()
    return stripped if not stripped or _CODE.fullmatch(stripped) else None


def sex(text: str) -> str | None:
    """M, F, O or empty; None for anything else."""
    stripped = text.strip().upper()
    return stripped if not stripped or stripped in _SEXES else None


def age_years(text: str) -> float | None:
    """Years from an age string: ``064Y``, SIIM's plain ``64``, or months, weeks, days; None where it is no age."""
    match = _AGE.fullmatch(text.strip().upper())
    return float(match[1]) * _YEARS[match[2]] if match else None


def is_spacing(values: Sequence[float]) -> bool:
    """Whether these are millimetres between rows and between columns (PS3.3 10.7.1.3) that a radiograph can have."""
    return len(values) == 2 and all(0 < value <= _MAX_SPACING_MM for value in values)
