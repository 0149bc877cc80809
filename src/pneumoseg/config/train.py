"""Section train: how the network learns."""

from __future__ import annotations

from itertools import accumulate
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pneumoseg.config.loss import LossParams
from pneumoseg.config.model import ModelParams
from pneumoseg.config.section import Section
from pneumoseg.config.semisupervised import MeanTeacherParams, PseudoLabelParams
from pneumoseg.shared.registry import FAMILIES

#: What a validation after an epoch measures (train/figures.py), at the original size of each image; auto: the figure
#: that the family of networks names, and for a schedule the one that chooses the epoch.
ValidationMetric = Literal[
    "auto",
    "auc_and_dice_pos",
    "dice_all",
    "dice_pos",
    "dice_balanced",
    "dice_tuned",
    "iou",
    "sensitivity",
    "specificity",
    "auc",
    "loss",
]

#: Weights of a phase: those of its best epoch, of its last, or averaged as train.averaging says.
Start = Literal["best", "last", "averaged"]


class OptimiserParams(Section):
    """Which optimiser, which parameters its weight decay touches, and how fast the encoder learns beside the rest."""

    name: Literal["adam", "adamw", "sgd", "radam"] = "adam"
    weight_decay: float = Field(0.0, ge=0)
    decay_norm_and_bias: bool = True
    momentum: float = Field(0.9, ge=0, lt=1)
    encoder_lr_factor: float = Field(1.0, gt=0)


class PlateauParams(Section):
    """Lower the learning rate when a validation metric stops getting better."""

    metric: ValidationMetric = "auto"
    patience_epochs: int = Field(2, ge=0)
    factor: float = Field(0.1, gt=0, lt=1)
    threshold: float = Field(0.001, ge=0)
    threshold_mode: Literal["abs", "rel"] = "abs"
    min_lr: float = Field(1e-07, ge=0)


class CosineParams(Section):
    """Half a cosine over the phase."""

    min_lr: float = Field(1e-06, ge=0)


class CosineRestartsParams(Section):
    """Cosine annealing with warm restarts (Loshchilov and Hutter 2017), stepped every iteration."""

    period_epochs: int = Field(5, ge=1)
    period_factor: int = Field(2, ge=1)
    min_lr: float = Field(1e-06, ge=0)


class OneCycleParams(Section):
    """One cycle (Smith 2018): lr is its maximum."""

    warmup_fraction: float = Field(0.25, gt=0, lt=1)
    start_divisor: float = Field(25.0, ge=1)
    end_divisor: float = Field(10000.0, ge=1)


class PolynomialParams(Section):
    """Lr times (1 - progress) to a power."""

    power: float = Field(0.9, gt=0)


class SchedulerParams(Section):
    """The named schedule is used; the others' keys stand ready for ``-S train.scheduler.name=…``."""

    name: Literal["constant", "plateau", "cosine", "cosine_restarts", "one_cycle", "polynomial"] = "one_cycle"
    warmup_epochs: float = Field(0.0, ge=0)
    plateau: PlateauParams = PlateauParams()
    cosine: CosineParams = CosineParams()
    cosine_restarts: CosineRestartsParams = CosineRestartsParams()
    one_cycle: OneCycleParams = OneCycleParams()
    polynomial: PolynomialParams = PolynomialParams()

    @model_validator(mode="after")
    def _one_warmup(self) -> Self:
        if self.name == "one_cycle" and self.warmup_epochs > 0:
            raise ValueError("warmup_epochs must be 0 with one_cycle, which has its own warmup_fraction")
        return self


class PositiveShare(Section):
    """A share of positives that changes linearly from the first epoch of a phase to its last."""

    start: float = Field(gt=0, le=1)
    end: float = Field(gt=0, le=1)


class EarlyStoppingParams(Section):
    """Stop a phase after this many epochs without a better selection metric; null never stops."""

    patience_epochs: int | None = Field(None, ge=1)


class EmaParams(Section):
    """Exponential moving average of the weights, updated after every step."""

    decay: float = Field(0.999, ge=0, lt=1)


class SwaParams(Section):
    """Stochastic weight averaging (Izmailov et al. 2018): the mean of the weights at the ends of chosen epochs."""

    epochs: tuple[Annotated[int, Field(ge=1)], ...] = ()


class TopKParams(Section):
    """The mean of the weights of a phase's best epochs."""

    count: int = Field(3, ge=2, le=20)


class AveragingParams(Section):
    """Which weights are averaged; the averaged ones count where a phase starts from them or ``train.keep`` says so."""

    name: Literal["none", "ema", "swa", "top_k"] = "none"
    ema: EmaParams = EmaParams()
    swa: SwaParams = SwaParams()
    top_k: TopKParams = TopKParams()


class PhaseParams(Section):
    """One part of training; null inherits the value of the section, where it has one."""

    name: str = Field("main", pattern=r"^[a-z0-9_-]{1,32}$")
    size_px: int = Field(ge=32, multiple_of=32)
    crop_px: int | None = Field(None, ge=32, multiple_of=32)
    epochs: int = Field(ge=1)
    positive_share: float | PositiveShare | None = None
    lr: float | None = Field(None, gt=0)
    scheduler: SchedulerParams | None = None
    loss: LossParams | None = None
    freeze_encoder_epochs: int = Field(0, ge=0)
    start: Start = "best"

    @model_validator(mode="after")
    def _values_agree(self) -> Self:
        if self.crop_px is not None and self.crop_px > self.size_px:
            raise ValueError(
                f"crop_px = {self.crop_px} is larger than size_px = {self.size_px}; make it smaller or null"
            )
        if isinstance(self.positive_share, float) and not 0 < self.positive_share <= 1:
            raise ValueError(f"positive_share = {self.positive_share}: give a share above 0 and up to 1, or null")
        if self.scheduler is not None:
            check_warmup(self.scheduler, self.epochs, f"phase {self.name}")
        return self


def check_warmup(scheduler: SchedulerParams, epochs: int, where: str) -> None:
    """Refuse a warm-up that leaves a phase no epoch for its schedule."""
    if scheduler.warmup_epochs >= epochs:
        raise ValueError(
            f"{where}: warmup_epochs = {scheduler.warmup_epochs} leaves nothing of its {epochs} epochs; lower it"
        )


class TrainParams(Section):
    """How the network learns."""

    seed: int = Field(42, ge=0)
    batch_size: int = Field(8, ge=1)
    accumulate_batches: int = Field(1, ge=1)
    lr: float = Field(0.002, gt=0)
    optimiser: OptimiserParams = OptimiserParams()
    scheduler: SchedulerParams = SchedulerParams()
    loss: LossParams = LossParams()
    gradient_clip_norm: float | None = Field(None, gt=0)
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    channels_last: bool = True
    compile: Literal["auto"] | bool = "auto"
    checkpoint_activations: bool = False
    synchronise_batch_norm: bool = True
    selection_metric: ValidationMetric = "auto"
    early_stopping: EarlyStoppingParams = EarlyStoppingParams()
    averaging: AveragingParams = AveragingParams()
    keep: Start = "best"
    checkpoints: int = Field(1, ge=1, le=20)
    mean_teacher: MeanTeacherParams = MeanTeacherParams()
    pseudo_labels: PseudoLabelParams = PseudoLabelParams()
    label_only_share: float | None = Field(None, gt=0, lt=1)
    drop_view_share: float = Field(0.0, ge=0, lt=1)
    phases: tuple[PhaseParams, ...] = Field((PhaseParams(size_px=128, epochs=10),), min_length=1)

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [phase.name for phase in self.phases]
        if len(set(names)) < len(names):
            raise ValueError(f"phases need different names, not {', '.join(names)}")
        for phase in self.phases:
            if phase.scheduler is None:
                check_warmup(self.scheduler, phase.epochs, f"phase {phase.name}")
        return self

    @model_validator(mode="after")
    def _label_only_share_is_of_a_step(self) -> Self:
        if self.label_only_share is not None and not 0 < self.label_only_images < self.batch_size:
            raise ValueError(
                f"label_only_share = {self.label_only_share} of batch_size = {self.batch_size} rounds to "
                f"{self.label_only_images} images, but a step needs some with a mask and some with a label alone; "
                "change one of them"
            )
        return self

    @property
    def label_only_images(self) -> int:
        """Images of a batch that come with a label alone, where label_only_share says so; else 0."""
        return round((self.label_only_share or 0.0) * self.batch_size)

    def check_model(self, model: ModelParams) -> None:
        """Refuse ways of learning that the family has not.

        Raises:
            ValueError: labels alone for maps alone, a view left out of one image, or studies without a label.
        """
        family, name = FAMILIES[model.architecture], model.architecture
        two_views = getattr(family, "takes_lateral", False)
        unlabelled = {
            "mean_teacher.images_per_step": (self.mean_teacher.images_per_step, 0),
            "pseudo_labels.folder": (self.pseudo_labels.folder, None),
        }
        for key, (value, off) in unlabelled.items() if two_views else ():
            if value != off:
                raise ValueError(
                    f"train.{key} = {value}, but model.architecture = {name} learns from labelled studies alone; set "
                    f"it to {'null' if off is None else off}"
                )
        if self.drop_view_share and not two_views:
            raise ValueError(
                f"train.drop_view_share = {self.drop_view_share}, but model.architecture = {name} takes one image, of "
                "which no view can be left out; set it to 0.0"
            )
        if self.label_only_share is not None and not family.gives_image(model):
            raise ValueError(
                f"train.label_only_share = {self.label_only_share}, but a {name} without image head "
                "learns nothing from a label; set model.image_head.enabled to true, or the share to null"
            )

    @model_validator(mode="after")
    def _checkpoints_exist(self) -> Self:
        if self.checkpoints > 1 and self.keep != "best":
            raise ValueError(f"checkpoints = {self.checkpoints} keeps the best epochs, so keep must be best")
        if self.checkpoints > self.phases[-1].epochs:
            raise ValueError(
                f"checkpoints = {self.checkpoints}: the last phase has {self.phases[-1].epochs} epochs; lower it"
            )
        return self

    @model_validator(mode="after")
    def _averaged_weights_exist(self) -> Self:
        """Where averaged weights are wanted, an average must have been taken by then."""
        ends = list(accumulate(phase.epochs for phase in self.phases))
        wanted = {
            f"phases.{number}.start": ends[number - 1]
            for number, phase in enumerate(self.phases)
            if number and phase.start == "averaged"
        }
        wanted |= {"keep": ends[-1]} if self.keep == "averaged" else {}
        name, epochs = self.averaging.name, self.averaging.swa.epochs
        for key, end in wanted.items():
            if name == "none":
                raise ValueError(
                    f"{key} = averaged, but averaging.name = none averages nothing; give ema, swa or top_k"
                )
            if name == "swa" and not any(epoch <= end for epoch in epochs):
                raise ValueError(f"{key} = averaged, but averaging.swa.epochs = {list(epochs)} has none up to {end}")
        if name == "swa" and any(epoch > ends[-1] for epoch in epochs):
            raise ValueError(f"averaging.swa.epochs = {list(epochs)}: the phases have {ends[-1]} epochs in all")
        if name != "none" and not wanted:
            raise ValueError(
                f"averaging.name = {name} has no effect: set keep (or a later phase's start) to averaged, or "
                f"averaging.name to none"
            )
        return self
