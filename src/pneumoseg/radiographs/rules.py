"""Which files are refused and which are kept with a mark: every rule, with the name under which it is counted.

A refused file is a row of rejected.csv and one in ``rejected_by_reason`` of metrics/extract.json; a mark is counted in
``flags`` there. Neither ever quotes a value of the file, except codes such as a modality (see identity.code).
"""

from __future__ import annotations

from collections.abc import Mapping

from pneumoseg.shared.errors import DataError

#: Why a candidate file gives no image.
REFUSALS: Mapping[str, str] = {
    "resource_fork": "a macOS resource fork (._name), no radiograph; not counted in the share of refused files",
    "dicomdir": "a DICOMDIR index, no radiograph; not counted in the share of refused files",
    "unreadable": "the file cannot be opened or read",
    "not_dicom": "neither the DICM prefix nor a first data element of group 0002 or 0008, or not parseable",
    "header": "an attribute that pixels need is missing or impossible (Rows, Bits Stored, …)",
    "image_id": "SOPInstanceUID is missing or no safe file name: 1 to 64 letters, digits, '.', '_', '-'; no dot first",
    "modality": "Modality is missing or not one of extract.modalities",
    "body_part": "BodyPartExamined is given and has no word of extract.body_parts",
    "colour": "several samples a pixel, or no MONOCHROME1 or MONOCHROME2",
    "frames": "several frames",
    "too_large": "more pixels than extract.max_pixels, claimed or encoded",
    "pixel_data": "pixel data that are missing, truncated, damaged or of an unknown transfer syntax",
    "contrast": "a rescale, modality LUT or VOI LUT that cannot be applied",
    "decoder_crash": "the process that decoded it died",
    "lung_mask": "a lung mask that is missing, damaged, empty or of another size: its image is kept without",
    "duplicate": "the same SOPInstanceUID and the same pixels as an earlier file, which is kept",
    "conflict": "a SOPInstanceUID of files with different pixels: all are refused, nobody can tell which is meant",
}
#: Refusals that say nothing about the data: outside the share that extract.max_rejected_fraction limits.
JUNK = ("resource_fork", "dicomdir")

#: What is remarkable about a file that is kept.
FLAGS: Mapping[str, str] = {
    "age_unusable": "PatientAge is no age or above extract.max_age_years: age_years is empty",
    "bits_corrected": "values beyond Bits Stored, or a code stream of another sign than the header's: set right",
    "blotted_out": "the window, a LUT or the padding range leaves nothing to see: the stored range is shown instead",
    "burned_in_annotation": "Burned In Annotation is YES: the pixels may show names",
    "code_unusable": "sex, view position, body part or modality is no DICOM code string: emptied",
    "few_levels": "fewer than 32 grey levels in the PNG, of more than 1,000 in the file",
    "lungs_cut": "a lung mask has values between the lowest and the highest: cut at half",
    "lut_rescaled": "the VOI LUT uses less than half of the range that it announces: scaled to the bits it uses",
    "nearly_blank": "more than 99 % of the pixels are black, or white",
    "on_its_side": "a frontal image that looks turned by 90 degrees: kept as it is",
    "patient_id_missing": "PatientID is empty: patient_id is empty, the patient counts as unknown",
    "patient_id_placeholder": "PatientID is a word for nobody, such as ANONYMOUS, none or 0: as if it were empty",
    "spacing_at_detector": "no PixelSpacing, so ImagerPixelSpacing: millimetres at the detector, where all is enlarged",
    "spacing_unusable": "no spacing above 0 and up to 10 mm: both spacings are empty",
    "transfer_syntax_missing": "no transfer syntax: uncompressed, in the byte order that the header shows",
    "uniform": "all pixels have one grey level",
    "window_unusable": "the window has no number or no width: the range without a window is shown instead",
}
#: Flags of a picture that somebody should look at: named in the log with their files.
DOUBTFUL = ("blotted_out", "few_levels", "nearly_blank", "on_its_side", "uniform", "lut_rescaled", "bits_corrected")


class Refusal(DataError):  # noqa: N818 - the ordinary fate of a file, no failure of the program
    """A file that gives no image: the ordinary fate of some files of every data set.

    Attributes:
        kind: a key of REFUSALS.
        reason: one sentence that quotes nothing personal.
        image_id: the file's id where it has a valid one, else empty.
    """

    def __init__(self, kind: str, reason: str, image_id: str = "", source: str = "") -> None:
        """Say why; with ``source`` the message names the file too."""
        super().__init__(f"{source}: {reason}" if source else reason)
        self.kind = kind
        self.reason = reason
        self.image_id = image_id
