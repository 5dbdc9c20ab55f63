"""MMEngine's test loop with a metric that leaves counts and nothing else."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric

from segloss.engine.losses import VOID
from segloss.files import write_atomic
from segloss.metrics import Counts, summarize


class CountsMetric(BaseMetric):
    """Feeds the probabilities a segmentor predicts to ``Counts``.

    Args:
        num_classes: Number of classes.
        samples: The predicted maps of the first so many images are kept for a picture.
    """

    def __init__(self, num_classes: int, samples: int = 4) -> None:
        super().__init__()
        self.counts = Counts(num_classes)
        self.samples, self.kept = samples, {}

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Count one batch of predictions, at the size of the images' labels."""
        for sample in data_samples:
            probabilities = sample["seg_logits"]["data"].float().softmax(0).unsqueeze(0)
            labels = sample["gt_sem_seg"]["data"].long().to(probabilities.device)
            name = Path(sample["img_path"]).stem
            self.counts.update(probabilities, labels, valid=labels != VOID, names=[name])
            if len(self.kept) < self.samples:
                self.kept[name] = probabilities[0].argmax(0).to("cpu").numpy().astype(np.uint8)

    def compute_metrics(self, results: list) -> dict:
        """Not used: counts are merged, not lists of results."""
        raise NotImplementedError

    def evaluate(self, size: int) -> dict[str, float]:
        """The metrics of all that was counted."""
        return summarize(self.counts)

    def save(self, folder: Path) -> None:
        """Write counts.npz and predictions.npz."""
        self.counts.save(folder / "counts.npz")
        write_atomic(folder / "predictions.npz", lambda file: np.savez_compressed(file, **self.kept))
