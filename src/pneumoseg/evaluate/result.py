"""metrics/test.json, and figures.json of an external set, as a typed value.

The file is flat, so that DVC and MLflow read a figure as a number by its name; its interval stands in the object
``intervals`` or under ``<name>_interval``. Here both are one Estimate, and None is what cannot be had. Files of earlier
versions are read too.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_serializer, model_validator
from pydantic_core.core_schema import SerializerFunctionWrapHandler

from pneumoseg.evaluate.metric import all_metrics
from pneumoseg.evaluate.metrics.core import ALL_EMPTY
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.files import read_json, write_json
from pneumoseg.stats.bootstrap import Estimate
from pneumoseg.stats.margins import Margin

_UNKNOWN: Final = Estimate()
#: Codes of notes that earlier versions wrote as bare sentences, by what these say.
_OLD_NOTES: Final = {
    "phantom data": "phantom",
    "not shown to beat the all-empty score": "all_empty_not_beaten",
    "not shown to beat the plain threshold": "plain_not_beaten",
    "image is called negative": "all_called_negative",
    "intervals are rough": "few_patients",
    "surface distances leave out": "surface_left_out",
    "share their radiograph or patient": "shared",
}


class _Read(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class _Flat(_Read):
    """An object of JSON whose figures stand under their names beside its other fields; what was set is written."""

    #: Whether an interval stands under ``<name>_interval`` instead of in ``intervals``.
    beside: ClassVar[bool] = False

    figures: Mapping[str, Estimate] = Field(default_factory=dict)

    def figure(self, name: str) -> Estimate:
        """A figure by its name; an unknown one where the images do not give it."""
        return self.figures.get(name, _UNKNOWN)

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, content: Any) -> Any:
        if not isinstance(content, Mapping) or "figures" in content:
            return content
        own = {name for key, field in cls.model_fields.items() for name in (key, field.alias)}
        intervals = dict(content.get("intervals") or {})
        intervals |= {
            key.removesuffix("_interval"): value for key, value in content.items() if key.endswith("_interval")
        }
        fields = {key: value for key, value in content.items() if key in own}
        figures = {
            key: {"value": value, **dict(zip(("low", "high"), intervals.get(key) or (None, None), strict=True))}
            for key, value in content.items()
            if key not in own and key != "intervals" and not key.endswith("_interval")
        }
        return {**fields, "figures": figures}

    @model_serializer(mode="wrap")
    def _spread(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = {
            self.__class__.model_fields[key].alias or key: value
            for key, value in handler(self).items()
            if key != "figures" and key in self.model_fields_set
        }
        values = {name: figure.value for name, figure in self.figures.items()}
        intervals = {name: figure.interval for name, figure in self.figures.items()}
        if self.beside:
            return {**fields, **values, **{f"{name}_interval": interval for name, interval in intervals.items()}}
        return {**values, **fields, "intervals": intervals}


class Group(_Flat):
    """Figures of some images, such as those of the plain rule, and their intervals."""


class Surface(Group):
    """Surface distances, and of how many images they are the mean."""

    n_mm: int = 0
    n_px: int = 0


class Instances(Group):
    """Average precision of components, and how many there are; ``predictions`` is None without maps."""

    truths: int | None = None
    predictions: int | None = None


class WithoutShared(Group):
    """The figures of an external set without the images that the main set has too."""

    n: int
    n_positive: int = 0
    n_patients: int = 0


class Bin(_Read):
    """One bar of the reliability diagram."""

    low: float = Field(alias="from")
    high: float = Field(alias="to")
    n: int
    mean_probability: float | None
    share_positive: float | None


class Calibration(_Flat):
    """Figures ece, brier and ece_after_temperature, and what they are made of."""

    beside = True

    brier_after_temperature: float | None = None
    temperature: float | None = None
    reliability: tuple[Bin, ...] = ()


class SizeTest(_Flat):
    """Figures dice_difference and auc_difference of large against small pneumothoraces."""

    beside = True

    n_small: int = 0
    n_large: int = 0
    dice_pos_small: float | None = None
    dice_pos_large: float | None = None
    dice_permutation_p: float | None = None
    auc_permutation_p: float | None = None


class GroupTest(_Flat):
    """Figure auc_difference, first - second, of two groups of images with pneumothorax, each against all negatives."""

    beside = True

    by: str
    first: str
    second: str
    n_first: int
    n_second: int
    auc_permutation_p: float | None = None


class OutputFigures(Group):
    """Figures of one output of networks with several, its calls made at a limit; or of a difference of two outputs."""

    name: str
    limit: float | None = None


class Outputs(_Read):
    """The single outputs on the images that have all of them, and the last against the first, paired."""

    n: int
    n_positive: int
    n_patients: int
    single: tuple[OutputFigures, ...]
    first: str
    last: str
    difference: OutputFigures


class AtPrevalence(Group):
    """Figures ppv and npv of these calls where the share of images with pneumothorax is another one."""

    prevalence: float


class Subgroup(_Flat):
    """Some of the images: ``by`` names the attribute, ``group`` its value; figures of masks are of ``n_mask_known``."""

    beside = True

    by: str
    group: str
    n: int
    positives: int
    patients: int
    n_mask_known: int | None = None


class Overlap(_Read):
    """How many images of an external set the main set has too: by reason, and by what they are for there."""

    images: int
    by: Mapping[str, int]
    parts: Mapping[str, int] = Field(alias="with")


class Note(_Read):
    """What a reader must know before believing the figures: a code for programs and a sentence for people."""

    code: str
    text: str

    @model_validator(mode="before")
    @classmethod
    def _of_text(cls, content: Any) -> Any:
        if not isinstance(content, str):
            return content
        return {"code": next((code for said, code in _OLD_NOTES.items() if said in content), "other"), "text": content}


class TestResult(Group):
    """All figures of a set of images.

    Attributes:
        n: images; ``n_mask_known`` of them with a known mask, or none and no pneumothorax.
        phantom: 1 where any image is a phantom.
        plain_05: the figures under the plain rule.
        rule: the decision rule in words.
        delong: the AUC with the interval that papers print.
    """

    __test__: ClassVar[bool] = False  # no test of pytest's

    n: int
    n_positive: int = 0
    n_patients: int = 0
    n_mask_known: int | None = None
    phantom: int = 0
    beats_all_empty: Margin
    beats_plain_05: Margin
    plain_05: Group
    surface: Surface = Surface()
    instances: Instances = Instances()
    calibration: Calibration = Calibration()
    size_test: SizeTest = SizeTest()
    subgroups: tuple[Subgroup, ...] = ()
    group_tests: tuple[GroupTest, ...] = ()
    delong: Group = Group()
    at_prevalence: tuple[AtPrevalence, ...] = ()
    outputs: Outputs | None = None
    notes: tuple[Note, ...] = ()
    rule: tuple[str, ...] = ()
    overlap: Overlap | None = None
    without_shared: WithoutShared | None = None

    def figure(self, name: str) -> Estimate:
        """A figure by its name, wherever it stands in the file; an unknown one where the images do not give it."""
        places = (self.figures, self.surface.figures, self.instances.figures)
        return next((figures[name] for figures in places if name in figures), _UNKNOWN)

    def headline(self) -> dict[str, float]:
        """The headline figures that can be had, and the score of marking nothing."""
        names = (*(metric.name for metric in all_metrics() if metric.headline), ALL_EMPTY.name)
        values = {name: self.figure(name).value for name in names}
        return {name: value for name, value in values.items() if value is not None}

    def codes(self) -> frozenset[str]:
        """The codes of all notes."""
        return frozenset(note.code for note in self.notes)

    @classmethod
    def read(cls, path: Path, remedy: str = "run dvc repro evaluate") -> Self:
        """Read metrics/test.json or figures.json of an external set.

        Raises:
            DataError: the file is missing or is no such thing.
        """
        content = read_json(path)
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"])) or "it"
            raise DataError(f"{path}: {key}: {first['msg'].lower()}; {remedy}") from None

    def write(self, path: Path) -> None:
        """Write it; floats have six decimals."""
        write_json(path, self.model_dump(by_alias=True))
