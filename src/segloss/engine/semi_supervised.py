"""Semi-supervised learning: two loaders, a weak and a strong view, and a mean teacher that labels the weak view.

The student's exponential moving average labels the weak view (geometry only) of an unlabelled image; the student is
trained to predict the same on the strong view (colours, blur, CutMix). Labels of such images are never read.

References: Tarvainen and Valpola, Mean teachers are better role models, 2017, https://arxiv.org/abs/1703.01780;
Sohn et al., FixMatch, 2020, https://arxiv.org/abs/2001.07685; French et al., Semi-supervised semantic segmentation
needs strong, varied perturbations (CutMix), 2020, https://arxiv.org/abs/1906.01916.
"""

import copy
import math
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform, to_tensor
from mmseg.datasets.transforms import PackSegInputs, PhotoMetricDistortion
from mmseg.models import SegDataPreProcessor
from mmseg.registry import MODELS, TRANSFORMS
from mmseg.structures import SegDataSample
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from segloss.engine.data import READS_LABEL, check_readers
from segloss.engine.distillation import whole_logits
from segloss.engine.losses import VOID, TargetTerm
from segloss.labels import pseudo_labels

# Transforms that change colours; the weak view has none of them.
CHANGES_COLOURS = ("PhotoMetricDistortion",)


@TRANSFORMS.register_module()
class WholeImageShown(BaseTransform):
    """Placeholder label of zeros, which distinguishes the image from padding, which is void."""

    def transform(self, results: dict) -> dict:
        """Adds ``gt_seg_map``."""
        results["gt_seg_map"] = np.zeros(results["img"].shape[:2], np.uint8)
        results["seg_fields"].append("gt_seg_map")
        return results


@TRANSFORMS.register_module()
class StrongView(BaseTransform):
    """Adds the strong view of the image alongside the weak one, and the box that CutMix will fill with another image.

    Brightness, contrast, saturation and hue as MMSegmentation's PhotoMetricDistortion; grey with probability .2;
    Gaussian blur with probability .5 and a standard deviation of .1 to 2 pixels, as in UniMatch
    (https://arxiv.org/abs/2208.09910).

    Args:
        cutmix: Probability of a box. It covers 2 to 40 % of the image at an aspect ratio of .3 to 1/.3, as in UniMatch.
            Default .5.
    """

    def __init__(self, cutmix: float = 0.5) -> None:
        self.cutmix, self.distort = cutmix, PhotoMetricDistortion()

    def transform(self, results: dict) -> dict:
        """Adds ``strong_img`` and ``cutmix_box``, (top, left, bottom, right), empty where there is none."""
        strong = self.distort({"img": results["img"].copy()})["img"]
        if np.random.random() < 0.2:
            strong = cv2.cvtColor(cv2.cvtColor(strong, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
        if np.random.random() < 0.5:
            strong = cv2.GaussianBlur(strong, (0, 0), np.random.uniform(0.1, 2.0))
        results["strong_img"] = strong
        results["cutmix_box"] = self.box(*strong.shape[:2]) if np.random.random() < self.cutmix else (0, 0, 0, 0)
        return results

    @staticmethod
    def box(height: int, width: int) -> tuple[int, int, int, int]:
        """A random box inside an image of that size."""
        area = np.random.uniform(0.02, 0.4) * height * width
        ratio = math.exp(np.random.uniform(math.log(0.3), math.log(1 / 0.3)))
        rows, columns = min(height, round(math.sqrt(area * ratio))), min(width, round(math.sqrt(area / ratio)))
        top, left = np.random.randint(height - rows + 1), np.random.randint(width - columns + 1)
        return int(top), int(left), int(top) + rows, int(left) + columns


@TRANSFORMS.register_module()
class PackViews(PackSegInputs):
    """PackSegInputs that keeps the strong view, as ``strong`` (3, H, W), and the box of CutMix."""

    def transform(self, results: dict) -> dict:
        """Packs both views and the data sample."""
        packed = super().transform(results)
        packed["strong"] = to_tensor(np.ascontiguousarray(results["strong_img"].transpose(2, 0, 1)))
        packed["data_samples"].set_metainfo({"cutmix_box": results["cutmix_box"]})
        return packed


def unlabelled_pipeline(pipeline: list[dict], cutmix: float) -> list[dict]:
    """A training pipeline for images without labels: its geometry, then the strong view."""
    check_readers(pipeline)
    result = []
    for step in pipeline:
        if step["type"] in READS_LABEL:
            result.append(dict(type="WholeImageShown"))
        elif step["type"] == "PackSegInputs":
            result += [dict(type="StrongView", cutmix=cutmix), {**step, "type": "PackViews"}]
        elif step["type"] == "RandomCrop":
            result.append({**step, "cat_max_ratio": 1.0})  # the classes in a crop are not known
        elif step["type"] not in CHANGES_COLOURS:
            result.append(step)
    return result


class TwoLoaders:
    """Yields labelled batches, each with an unlabelled batch under the key ``unlabelled``."""

    def __init__(self, labelled: DataLoader, unlabelled: DataLoader) -> None:
        self.labelled, self.unlabelled, self.dataset = labelled, unlabelled, labelled.dataset

    def __len__(self) -> int:
        return len(self.labelled)

    def __iter__(self) -> Iterator[dict]:
        # Created now, not at the first batch: a DataLoader's iterator draws from torch's generator when it is created.
        pairs = zip(iter(self.labelled), iter(self.unlabelled), strict=True)
        return ({**batch, "unlabelled": unlabelled} for batch, unlabelled in pairs)


@MODELS.register_module()
class ViewsPreProcessor(SegDataPreProcessor):
    """SegDataPreProcessor for labelled images and both views of unlabelled ones."""

    def forward(self, data: dict, training: bool = False) -> dict[str, Any]:
        """The batch for the segmentor, with both views of unlabelled images and their samples, if any."""
        unlabelled = data.get("unlabelled")
        done = super().forward({key: data[key] for key in data if key != "unlabelled"}, training)
        if unlabelled is None:
            return done
        weak, strong, samples = unlabelled["inputs"], unlabelled["strong"], unlabelled["data_samples"]
        both = {"inputs": [*weak, *strong], "data_samples": [*samples, *(sample.clone() for sample in samples)]}
        both = super().forward(both, training)
        weak, strong = both["inputs"].chunk(2)
        return {**done, "unlabelled": dict(weak=weak, strong=strong, samples=both["data_samples"][: len(weak)])}


class MeanTeacher(nn.Module):
    """An exponential moving average of the student's parameters that labels unlabelled images for the student.

    Args:
        student: The segmentor; this module becomes its submodule, so that both states are saved together.
        momentum: α of average = α average + (1 - α) student after every iteration, smaller at the start:
            min(1 - 1 / (n + 1), α) after n. Default .99. The running statistics of normalisation layers are averaged in
            the same way: the student's own belong to other weights.
        threshold: Pixels where the teacher's largest probability is below it are ignored. Default .95.
        soft: Use the teacher's probabilities as the target instead of its most probable class.
        temperature: Temperature of a soft target. Default 1.
        weight: Factor of the losses on unlabelled images. Default 1. At 0 these images are not used.
        ramp_up: Share of the training over which the weight grows, as exp(-5 (1 - t)^2). Default .1.
    """

    def __init__(
        self,
        student: nn.Module,
        *,
        momentum: float = 0.99,
        threshold: float = 0.95,
        soft: bool = False,
        temperature: float = 1.0,
        weight: float = 1.0,
        ramp_up: float = 0.1,
    ) -> None:
        super().__init__()
        self.average = copy.deepcopy(student).requires_grad_(False)
        self.momentum, self.weight, self.ramp_up = momentum, weight, ramp_up
        self.threshold, self.soft, self.temperature = threshold, soft, temperature
        self.steps, self.progress = 0, 1.0

    def get_extra_state(self) -> Tensor:
        """The number of updates so far."""
        return torch.tensor(self.steps)

    def set_extra_state(self, state: Tensor) -> None:
        """Continue from that state."""
        self.steps = int(state)

    @torch.no_grad()
    def follow(self, student: nn.Module) -> None:
        """Update the average with the student's latest weights; before the first update it equals the student."""
        average, other = (
            dict([*module.named_parameters(), *module.named_buffers()]) for module in (self.average, student)
        )
        averaged = [name for name, value in average.items() if value.is_floating_point()]
        momentum = min(1 - 1 / (self.steps + 1), self.momentum)
        get_ema_multi_avg_fn(momentum)([average[name] for name in averaged], [other[name] for name in averaged], None)
        for name in average.keys() - set(averaged):
            average[name].copy_(other[name])
        self.steps += 1

    def current_weight(self) -> float:
        """The weight of the unlabelled losses at this point of the training."""
        if self.progress >= self.ramp_up:
            return self.weight
        return self.weight * math.exp(-5 * (1 - self.progress / self.ramp_up) ** 2)

    def losses(
        self, student: nn.Module, weak: Tensor, strong: Tensor, samples: list[SegDataSample]
    ) -> dict[str, Tensor]:
        """The student's losses on the strong views against the teacher's labels of the weak ones.

        Args:
            student: The segmentor.
            weak: Normalised images (B, 3, H, W).
            strong: The strong views of the same images.
            samples: Their data samples, with labels that are VOID in padding, and the boxes of CutMix.

        Returns:
            All losses of all heads, times the weight, and ``unlabelled.kept``, the share of pixels not ignored.
        """
        weight = self.current_weight()
        if weight == 0:
            return {}
        shown = torch.stack([sample.gt_sem_seg.data[0] for sample in samples]) != VOID
        with torch.no_grad():
            logits = whole_logits(self.average.eval(), weak)
            target, valid = pseudo_labels(
                logits, shown, threshold=self.threshold, soft=self.soft, temperature=self.temperature
            )
            kept = valid.sum() / shown.sum().clamp_min(1)
            boxes = [sample.metainfo["cutmix_box"] for sample in samples]
            strong, target, valid = cutmix((strong, target, valid), boxes)
            classes = (target.argmax(1) if self.soft else target).masked_fill(~valid, VOID)
        for sample, labels in zip(samples, classes, strict=True):
            sample.gt_sem_seg.data = labels.unsqueeze(0)  # for the accuracy that heads report
        losses = student.losses_against([TargetTerm(target, valid)], strong, samples)
        weighted = {name: weight * value if "loss" in name else value for name, value in losses.items()}
        return {f"unlabelled.{name}": value for name, value in weighted.items()} | {"unlabelled.kept": kept}


def cutmix(maps: tuple[Tensor, ...], boxes: list[tuple[int, int, int, int]]) -> tuple[Tensor, ...]:
    """Fill the box (top, left, bottom, right) of every image with the same region of the previous image of the batch.

    Args:
        maps: Corresponding tensors (B, H, W) or (B, C, H, W): images, targets, valid pixels.
        boxes: One for each image.
    """
    mixed = tuple(tensor.clone() for tensor in maps)
    for number, (top, left, bottom, right) in enumerate(boxes):
        for new, old in zip(mixed, maps, strict=True):
            new[number, ..., top:bottom, left:right] = old[number - 1, ..., top:bottom, left:right]
    return mixed
