"""Segmentors that train on the target of a label scenario. Heads, losses and pipelines stay as they are."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from mmseg.models import CascadeEncoderDecoder, EncoderDecoder
from mmseg.registry import MODELS
from torch import Tensor
from torch.nn import functional

from segloss.engine.distances import stacked_distance_maps
from segloss.engine.distillation import Teacher, semantic_heads
from segloss.engine.losses import VOID, TargetTerm, training_target
from segloss.engine.semi_supervised import MeanTeacher
from segloss.labels import CATALOGUE


def draws(inputs: Tensor, data_samples: list) -> Tensor:
    """One uniform number in [0, 1) per image, float64 (B,), drawn from the seed of its sample."""
    return torch.tensor([sample.metainfo["draw"] for sample in data_samples], dtype=torch.float64, device=inputs.device)


def rater_weights(inputs: Tensor, data_samples: list) -> Tensor:
    """The weights of the raters of each image, float32 (B, R), measured on the whole image when it was loaded."""
    weights = [sample.metainfo["rater_weights"] for sample in data_samples]
    return torch.tensor(weights, dtype=torch.float32, device=inputs.device)


# Inputs that a scenario may need in addition to the labels: the argument's name, and the function that computes it.
NEEDS: dict[str, Callable[[Tensor, list], Tensor]] = {"draws": draws, "rater_weights": rater_weights}


def stacked(data_samples: list, source: str) -> Tensor:
    """The batch's labels, int64: (B, H, W) for the source "map", the raters' maps (B, R, H, W) for "raters".

    MMSegmentation pads a batch's labels at the bottom and right, but not the raters' maps; this function pads them too.
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
        mean_teacher: The options of ``MeanTeacher``, to learn from unlabelled images too. Default: None.
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
        self.auxiliary_target: list[list[TargetTerm]] = []  # one per auxiliary head, if they have their own
        self.mean_teacher = None if mean_teacher is None else MeanTeacher(self, **mean_teacher)

    def forward(
        self, inputs: Tensor, data_samples: list | None = None, mode: str = "tensor", unlabelled: dict | None = None
    ) -> Any:
        """As any segmentor; in the mode ``loss``, the result includes the losses on unlabelled images."""
        if mode == "loss" and self.mean_teacher is not None:
            self.mean_teacher.follow(self)
        result = super().forward(inputs, data_samples, mode)
        return result if unlabelled is None else result | self.mean_teacher.losses(self, **unlabelled)

    def loss(self, inputs: Tensor, data_samples: list) -> dict[str, Tensor]:
        """The losses of all heads against the scenario's target."""
        with torch.no_grad():
            target, *auxiliary = self.targets(inputs, data_samples)
        return self.losses_against(target, inputs, data_samples, auxiliary)

    def losses_against(
        self, target: list[TargetTerm], inputs: Tensor, data_samples: list, auxiliary: list[list[TargetTerm]] = ()
    ) -> dict[str, Tensor]:
        """The losses of all heads against a target; auxiliary heads use their own target if they have one."""
        self.auxiliary_target = list(auxiliary)
        with training_target(*target):
            return super().loss(inputs, data_samples)

    def _auxiliary_head_forward_train(self, inputs: Any, data_samples: list) -> dict[str, Tensor]:
        """The losses of the auxiliary heads, each against its own target."""
        heads = self.auxiliary_head
        heads = list(heads) if isinstance(heads, torch.nn.ModuleList) else [heads]
        semantic = semantic_heads(heads)
        if len(self.auxiliary_target) != len(semantic):  # the decode head's target
            return super()._auxiliary_head_forward_train(inputs, data_samples)
        targets = dict(zip(map(id, semantic), self.auxiliary_target, strict=True))
        losses = {}
        for number, head in enumerate(heads):
            prefix = f"aux_{number}" if len(heads) > 1 else "aux"
            with training_target(*targets.get(id(head), ())):  # none for a head with a target of its own
                values = head.loss(inputs, data_samples, self.train_cfg)
            losses |= {f"{prefix}.{name}": value for name, value in values.items()}
        return losses

    def targets(self, inputs: Tensor, data_samples: list) -> list[list[TargetTerm]]:
        """The scenario's target for a batch; with a teacher, also that of each of its auxiliary heads."""
        labels, options = stacked(data_samples, self.make_target.source), self.target_options
        valid = labels != VOID
        needed = {name: NEEDS[name](inputs, data_samples) for name in self.make_target.needs if name in NEEDS}
        distance_maps = stacked_distance_maps(data_samples)
        if self.teacher is None:
            target = self.make_target(labels, valid, self.out_channels, **options, **needed)
            return [[TargetTerm(*target, distance_maps=distance_maps)]]
        temperature = options.get("temperature", 1.0)
        return [
            self.teacher.terms(
                (labels, valid),
                self.make_target(labels, valid, self.out_channels, **options, **needed, teacher_logits=logits),
                temperature,
                distance_maps,
            )
            for logits in self.teacher.logits(inputs)
        ]


@MODELS.register_module()
class ScenarioEncoderDecoder(_TrainsOnScenario, EncoderDecoder):
    """EncoderDecoder that trains on a label scenario."""


@MODELS.register_module()
class ScenarioCascadeEncoderDecoder(_TrainsOnScenario, CascadeEncoderDecoder):
    """CascadeEncoderDecoder that trains on a label scenario."""
