"""Segmentors that train on the target of a label scenario. Heads, losses and pipelines stay as they are."""

from collections.abc import Mapping
from typing import Any

import torch
from mmseg.models import CascadeEncoderDecoder, EncoderDecoder
from mmseg.registry import MODELS
from torch import Tensor

from segloss.engine.distillation import Teacher
from segloss.engine.losses import VOID, Part, training_target
from segloss.engine.semi_supervised import MeanTeacher
from segloss.labels import CATALOGUE


class _TrainsOnScenario:
    """Makes the scenario's target on the batch's device and computes every head's loss against it.

    Args:
        scenario: ``dict(target=<name in segloss.labels>, <its options>)``.
        mean_teacher: The options of ``MeanTeacher``, to learn from unlabelled images too. Default: None: none.
        segmentor: The arguments of the segmentor.
    """

    def __init__(
        self, *, scenario: Mapping[str, Any], mean_teacher: Mapping[str, Any] | None = None, **segmentor: Any
    ) -> None:
        super().__init__(**segmentor)
        options = dict(scenario)
        self.make_target = CATALOGUE[options.pop("target")]
        self.target_options = options
        self.teacher: Teacher | None = None
        self.mean_teacher = None if mean_teacher is None else MeanTeacher(self, **mean_teacher)

    def forward(
        self, inputs: Tensor, data_samples: list | None = None, mode: str = "tensor", unlabelled: dict | None = None
    ) -> Any:
        """As any segmentor; in the mode ``loss`` with the losses on unlabelled images beside those on labelled ones."""
        if mode == "loss" and self.mean_teacher is not None:
            self.mean_teacher.follow(self)
        result = super().forward(inputs, data_samples, mode)
        return result if unlabelled is None else result | self.mean_teacher.losses(self, **unlabelled)

    def loss(self, inputs: Tensor, data_samples: list) -> dict[str, Tensor]:
        """The losses of all heads against the scenario's target."""
        with torch.no_grad():
            parts = self.parts(inputs, data_samples)
        return self.losses_against(parts, inputs, data_samples)

    def losses_against(self, parts: list[Part], inputs: Tensor, data_samples: list) -> dict[str, Tensor]:
        """The losses of all heads against a target given by its parts."""
        with training_target(*parts):
            return super().loss(inputs, data_samples)

    def parts(self, inputs: Tensor, data_samples: list) -> list[Part]:
        """The scenario's target for a batch."""
        field = "gt_raters" if self.make_target.source == "raters" else "gt_sem_seg"
        labels = torch.stack([getattr(sample, field).data for sample in data_samples]).long()
        if field == "gt_sem_seg":
            labels = labels.squeeze(1)
        valid = labels != VOID
        if self.teacher is None:
            return [Part(*self.make_target(labels, valid, self.out_channels, **self.target_options))]
        logits = self.teacher.logits(inputs)
        options = self.target_options
        target, taught = self.make_target(labels, valid, self.out_channels, teacher_logits=logits, **options)
        return self.teacher.parts((labels, valid), (target, taught), options.get("temperature", 1.0))


@MODELS.register_module()
class ScenarioEncoderDecoder(_TrainsOnScenario, EncoderDecoder):
    """EncoderDecoder that trains on a label scenario."""


@MODELS.register_module()
class ScenarioCascadeEncoderDecoder(_TrainsOnScenario, CascadeEncoderDecoder):
    """CascadeEncoderDecoder that trains on a label scenario."""
