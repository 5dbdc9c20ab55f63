"""Segmentors that train on the target of a label scenario. Heads, losses and pipelines stay as they are."""

from typing import Any

import torch
from mmseg.models import CascadeEncoderDecoder, EncoderDecoder
from mmseg.registry import MODELS
from torch import Tensor

from segloss.engine.losses import soft_target
from segloss.labels import CATALOGUE

VOID = 255  # MMSegmentation's own void index; data sets with another are mapped to it when their labels are read


class _TrainsOnScenario:
    """Makes the scenario's target on the batch's device and computes every head's loss against it.

    Args:
        scenario: ``dict(target=<name in segloss.labels>, <its options>)``.
        segmentor: The arguments of the segmentor.
    """

    def __init__(self, *, scenario: dict[str, Any], **segmentor: Any) -> None:
        super().__init__(**segmentor)
        options = dict(scenario)
        self.make_target = CATALOGUE[options.pop("target")]
        self.target_options = options

    def loss(self, inputs: Tensor, data_samples: list) -> dict[str, Tensor]:
        """The losses of all heads against the scenario's target."""
        field = "gt_raters" if self.make_target.source == "raters" else "gt_sem_seg"
        labels = torch.stack([getattr(sample, field).data for sample in data_samples]).long()
        if field == "gt_sem_seg":
            labels = labels.squeeze(1)
        with torch.no_grad():
            target, valid = self.make_target(labels, labels != VOID, self.out_channels, **self.target_options)
        with soft_target(target, valid):
            return super().loss(inputs, data_samples)


@MODELS.register_module()
class ScenarioEncoderDecoder(_TrainsOnScenario, EncoderDecoder):
    """EncoderDecoder that trains on a label scenario."""


@MODELS.register_module()
class ScenarioCascadeEncoderDecoder(_TrainsOnScenario, CascadeEncoderDecoder):
    """CascadeEncoderDecoder that trains on a label scenario."""
