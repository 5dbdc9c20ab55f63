"""Evaluation against raters and known probabilities, by the code that evaluates every prediction."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmseg.models import SegDataPreProcessor
from mmseg.registry import DATASETS as MMSEG_DATASETS
from torch import nn
from torch.utils.data import DataLoader

from segloss.datasets import DATASETS, phantom
from segloss.engine.evaluation import Evaluation, evaluate, truths
from segloss.grid.protocol import Protocol
from segloss.metrics import Counts, per_rater, summarize
from tests.conftest import DATA
from tests.engine.conftest import config_of

VOID = 255


def evaluated(dataset: str, folder: Path, split: str = "test") -> tuple:
    """The images of a split as a cell of that data set reads them, and its evaluation."""
    init_default_scope("mmseg")
    config = config_of(f"{dataset}/unet-tiny/tiny/hard/ce/seed0", folder)
    images = MMSEG_DATASETS.build({**config.test_dataset, "split": split})
    return images, Evaluation(len(images.source.classes), config.reference, Protocol(**config.protocol))


class PosteriorSegmentor(nn.Module):
    """A segmentor that predicts the posterior of one image of phantom after the other, to a power."""

    def __init__(self, images: list[str], power: int) -> None:
        super().__init__()
        self.data_preprocessor = SegDataPreProcessor()
        self.answers = (torch.from_numpy(phantom.read_posterior(Path("data/phantom"), name)) for name in images)
        self.power = power

    def encode_decode(self, inputs: torch.Tensor, metas: list) -> torch.Tensor:
        return self.power * next(self.answers).clamp_min(1e-30).log().unsqueeze(0)


def counted(power: int, folder: Path) -> Counts:
    """The counts of all 256 images of phantom for the posterior to a power."""
    together = Counts(5)
    for split in ("train", "val", "test"):
        images, evaluation = evaluated("phantom", Path("data/phantom"), split)
        model = PosteriorSegmentor([entry["image"] for entry in images.load_data_list()], power)
        evaluate(model, DataLoader(images, collate_fn=pseudo_collate), evaluation, {}, folder)
        together.merge(Counts.load(folder / "counts.npz"))
    return together


@pytest.mark.slow
def test_the_known_posterior_of_phantom_has_no_divergence_and_no_calibration_error_but_of_sampling(
    in_workplace: Path,
) -> None:
    """A label is one drawing: its pixels share the rater, so that only the images are independent.

    With g the sum of (right - confidence) over an image's pixels in a bin, the standard error of the data set's gap in
    that bin is sqrt(Σ g²) over the images; ECE is then below twice their sum, here .28 % over all 256 images.
    """

    def standard_error(counts: Counts) -> float:
        rows = counts.rows
        gaps = rows["histogram"][:, 1] - rows["confidence"]
        return 100 * np.sqrt((gaps**2).sum(0)).sum() / rows["histogram"].sum()

    true, sharper = counted(1, in_workplace), counted(2, in_workplace)
    metrics = summarize(true)
    assert abs(metrics["KL"]) < 1e-7
    assert metrics["Brier_soft"] < 1e-9
    assert metrics["mDice_soft"] > 99.999
    assert metrics["Dice_thresholds"] > 99.9  # float32 rounds a probability across a threshold here and there
    assert metrics["ECE"] < 2 * standard_error(true) < 0.3
    worse = summarize(sharper)
    assert worse["KL"] > 0.001
    assert worse["ECE"] > 2 * standard_error(sharper)


def test_the_soft_truth_of_raters_is_their_mean_and_the_hard_one_the_majority() -> None:
    """Three raters; the third did not see the image. Void where the label is void."""
    raters = torch.tensor([[[0, 1, 1, VOID]], [[0, 1, 0, VOID]], [[VOID, VOID, VOID, VOID]]])
    sample = {"gt_sem_seg": {"data": torch.tensor([[[1, 1, 1, VOID]]])}, "gt_raters": {"data": raters}}
    labels, valid, soft = truths(sample, 2, "majority", torch.device("cpu"))
    assert labels[valid].tolist() == [0, 1, 0]
    assert soft["present"].tolist() == [[True, True, False]]
    assert soft["truth"][0, 1, 0, :3].tolist() == [0, 1, 0.5]
    labels, valid, _ = truths(sample, 2, "label", torch.device("cpu"))
    assert labels[valid].tolist() == [1, 1, 1]
    known = torch.tensor([[[0.9, 0.2, 0.3, 0.5]], [[0.1, 0.8, 0.7, 0.5]]])
    _, _, soft = truths({**sample, "gt_truth": {"data": known}}, 2, "label", torch.device("cpu"))
    assert torch.equal(soft["truth"][0], known)
    del sample["gt_raters"]
    assert truths(sample, 2, "label", torch.device("cpu"))[2] == {}


def test_who_predicts_what_a_rater_drew_agrees_with_that_rater_alone(in_workplace: Path) -> None:
    if not (DATA / "bubil").is_dir():
        pytest.skip(f"bubil is not below {DATA}; set SEGLOSS_DATA")
    images, evaluation = evaluated("bubil-cpu", DATA / "bubil")
    assert evaluation.reference == "majority"
    second = DATASETS["bubil"].read_list(DATA / "bubil", "test")[0][2:].index("masks/Person2_ImageJ/D1_B05.png")
    counts = Counts(2)
    for number in (0, 1, len(images) - 2, len(images) - 1):
        sample = images[number]["data_samples"].to_dict()
        drawn = sample["gt_raters"]["data"][second].long()
        assert torch.equal(drawn, sample["gt_sem_seg"]["data"][0].long())  # the gold standard is that very drawing
        labels, valid, soft = truths(sample, 2, evaluation.reference, torch.device("cpu"))
        counts.update(torch.nn.functional.one_hot(drawn[None], 2).movedim(-1, 1).float(), labels, valid, **soft)
    scores = per_rater(counts)
    assert scores[second]["mDice"] == 100
    assert all(60 < score["mDice"] < 99 for rater, score in enumerate(scores) if rater != second)
    metrics = summarize(counts)
    assert 85 < metrics["mDice"] < 100
    assert metrics["mDice_raters"] == np.mean([score["mDice"] for score in scores])
