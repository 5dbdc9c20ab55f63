"""The predictors of controls, in place of a trained model."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from segloss.grid.controls import MAJORITY, POSTERIOR


class Control(nn.Module):
    """A predictor without weights, passed to the evaluation in place of a segmentor.

    Args:
        probabilities: Maps a data sample, whose labels are (H, W), to class probabilities, float32 (C, H, W).
    """

    def __init__(self, probabilities: Callable[[SegDataSample], Tensor]) -> None:
        super().__init__()
        self.probabilities = probabilities

    def data_preprocessor(self, batch: dict[str, Any], training: bool) -> dict[str, Any]:
        """The batch, unchanged: the images are not used."""
        return batch


def posterior(sample: SegDataSample) -> Tensor:
    """The known probabilities of an image, float32 (C, H, W)."""
    return sample.gt_truth.data


def constant(class_probabilities: Tensor) -> Callable[[SegDataSample], Tensor]:
    """The same probabilities (C,) at every pixel."""
    return lambda sample: class_probabilities[:, None, None].expand(-1, *sample.gt_sem_seg.shape)


def control(name: str, class_counts: Sequence[int]) -> Control:
    """The predictor of a control.

    Args:
        name: A name of ``segloss.grid.controls.CONTROLS``.
        class_counts: Pixels of each class in the training labels.
    """
    if name == POSTERIOR:
        return Control(posterior)
    counts = torch.tensor(class_counts, dtype=torch.float64)
    # On ties, the first of the most frequent classes, as everywhere in the evaluation.
    shares = nn.functional.one_hot(counts.argmax(), len(counts)) if name == MAJORITY else counts / counts.sum()
    return Control(constant(shares.float()))
