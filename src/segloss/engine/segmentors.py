"""Segmentors that train on the target of a label scenario. Heads, losses and pipelines stay as they are."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from mmseg.models import CascadeEncoderDecoder, EncoderDecoder
from mmseg.registry import MODELS
from torch import Tensor
from torch.nn import functional

from segloss.engine.distillation import Teacher
from segloss.engine.losses import VOID, TargetTerm, training_target
from segloss.engine.semi_supervised import MeanTeacher
from segloss.labels import CATALOGUE


def draws(segmentor: "_TrainsOnScenario", inputs: Tensor, data_samples: list) -> Tensor:
    """One uniform number in [0, 1) per image, float64 (B,), drawn from the seed of its visit."""
    return torch.tensor([sample.metainfo["draw"] for sample in data_samples], dtype=torch.float64, device=inputs.device)


def teacher_logits(segmentor: "_TrainsOnScenario", inputs: Tensor, data_samples: list) -> Tensor:
    """What the segmentor's teacher says of the images, (B, C, H, W)."""
    return segmentor.teacher.logits(inputs)


# What a scenario can need of the batch beside the labels: its argument's name, and what makes it.
NEEDS: dict[str, Callable[["_TrainsOnScenario", Tensor, list], Tensor]] = {
    "draws": draws,
    "teacher_logits": teacher_logits,
}


def stacked(data_samples: list, source: str) -> Tensor:
    """The batch's labels, int64: one map per image (B, H, W) for the source "map", the raters' (B, R, H, W) for theirs.

    MMSegmentation pads a batch's labels at their lower right, but not the raters' maps: the same is done here.
    """
    labels = torch.cat([sample.gt_sem_seg.data for sample in data_samples])
    if source == "map":
        return labels.long()
    height, width = labels.shape[-2:]
    stacks = [sample.gt_raters.data for sample in data_samples]
    padded = [
        functional.pad(stack, (0, width - stack.shape[-1], 0, height - stack.shape[-2]), value=VOID) for stack in stacks
    ]
    return torch.stack(padded).long()


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

    def losses_against(self, parts: list[TargetTerm], inputs: Tensor, data_samples: list) -> dict[str, Tensor]:
        """The losses of all heads against a target given by its parts."""
        with training_target(*parts):
            return super().loss(inputs, data_samples)

    def parts(self, inputs: Tensor, data_samples: list) -> list[TargetTerm]:
        """The scenario's target for a batch."""
        labels, options = stacked(data_samples, self.make_target.source), self.target_options
        valid = labels != VOID
        needed = {name: NEEDS[name](self, inputs, data_samples) for name in self.make_target.needs}
        target = self.make_target(labels, valid, self.out_channels, **options, **needed)
        if self.teacher is None:
            return [TargetTerm(*target)]
        return self.teacher.parts((labels, valid), target, options.get("temperature", 1.0))


@MODELS.register_module()
class ScenarioEncoderDecoder(_TrainsOnScenario, EncoderDecoder):
    """EncoderDecoder that trains on a label scenario."""


@MODELS.register_module()
class ScenarioCascadeEncoderDecoder(_TrainsOnScenario, CascadeEncoderDecoder):
    """CascadeEncoderDecoder that trains on a label scenario."""
