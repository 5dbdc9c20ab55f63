"""Predictions of a model on a split, of which counts are left and nothing else."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from segloss.engine.losses import VOID
from segloss.files import write_atomic
from segloss.labels import majority, rater_mean
from segloss.metrics import Counts, summarize


def truths(
    sample: Mapping[str, Any], num_classes: int, reference: str, device: torch.device
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """What an image's prediction is compared with.

    Args:
        sample: The image's data sample as a dict.
        num_classes: Number of classes C.
        reference: "label" or "majority".
        device: Where the prediction lies.

    Returns:
        The hard labels int64 (1, H, W), bool (1, H, W) where they are valid, and what else ``Counts.update`` takes:
        ``truth``, ``raters`` and ``present`` as far as there are any.
    """
    labels = sample["gt_sem_seg"]["data"].long().to(device)
    valid, soft = labels != VOID, {}
    if "gt_raters" in sample:
        raters = sample["gt_raters"]["data"].long().to(device).unsqueeze(0)
        drawn = raters != VOID
        soft = {"raters": raters, "present": drawn.flatten(2).any(2)}
        soft["truth"], _ = rater_mean(raters, drawn, num_classes)
        if reference == "majority":
            labels, valid = majority(raters, drawn, num_classes)
    if "gt_truth" in sample:
        soft["truth"] = sample["gt_truth"]["data"].to(device).unsqueeze(0)
    return labels, valid, soft


class CountsMetric:
    """Feeds the probabilities a segmentor predicts to ``Counts``.

    On data sets with raters their maps are counted too, and as soft truth the mean of those who drew the image, or the
    known truth where there is one.

    Args:
        num_classes: Number of classes.
        reference: The hard truth: "label", the file the data set calls its label, or "majority" of its raters, the
            lowest class where votes are equal.
        samples: The predicted maps of the first so many images are kept for a picture.
    """

    def __init__(self, num_classes: int, reference: str = "label", samples: int = 4) -> None:
        self.counts, self.reference = Counts(num_classes), reference
        self.samples, self.kept = samples, {}

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Count one batch of predictions, at the size of the images' labels."""
        for sample in data_samples:
            probabilities = sample["seg_logits"]["data"].float().softmax(0).unsqueeze(0)
            name = sample["name"]
            labels, valid, soft = truths(sample, self.counts.num_classes, self.reference, probabilities.device)
            self.counts.update(probabilities, labels, valid, [name], **soft)
            if len(self.kept) < self.samples:
                self.kept[name] = probabilities[0].argmax(0).to("cpu").numpy().astype(np.uint8)

    def metrics(self) -> dict[str, float]:
        """The metrics of all that was counted."""
        return summarize(self.counts)

    def save(self, folder: Path) -> None:
        """Write counts.npz and predictions.npz."""
        self.counts.save(folder / "counts.npz")
        write_atomic(folder / "predictions.npz", lambda file: np.savez_compressed(file, **self.kept))


@torch.no_grad()
def evaluate(model: torch.nn.Module, loader: DataLoader, metric: CountsMetric) -> dict[str, float]:
    """The metrics of a model's predictions for all that a loader gives; the model is left in the mode it was in."""
    training = model.training
    model.eval()
    for batch in loader:
        metric.process(batch, [sample.to_dict() for sample in model.test_step(batch)])
    model.train(training)
    return metric.metrics()
