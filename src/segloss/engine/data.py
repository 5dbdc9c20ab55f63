"""Data sets as the engine reads them: image lists, stacks of raters, a restartable sequence of training samples."""

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.structures import PixelData
from mmseg.datasets import BaseSegDataset
from mmseg.datasets.transforms import PackSegInputs
from mmseg.registry import DATASETS as MMSEG_DATASETS
from mmseg.registry import TRANSFORMS
from torch.utils.data import Dataset

from segloss.datasets import DATASETS, training_lists
from segloss.engine.decoded import REPEATABLE, DecodedPipeline
from segloss.engine.losses import VOID


@MMSEG_DATASETS.register_module()
class ListDataset(BaseSegDataset):
    """A data set of ``segloss.datasets`` as MMSegmentation reads it.

    Args:
        source: Its name in ``segloss.datasets.DATASETS``.
        folder: Where it lies.
        split: ``train``, ``val`` or ``test``.
        labelled: Which training images keep their labels, as ``training_lists`` takes it. Default: None: all.
        unlabelled: Whether to read those that do not, without their labels, instead of those that do.
        pipeline: MMSegmentation's transforms.
        test_mode: Whether it is read for evaluation.
    """

    def __init__(
        self,
        source: str,
        folder: str,
        split: str,
        pipeline: list,
        labelled: Mapping[str, Any] | None = None,
        unlabelled: bool = False,
        test_mode: bool = False,
    ) -> None:
        self.source, self.split, self.labelled, self.unlabelled = DATASETS[source], split, labelled, unlabelled
        super().__init__(
            metainfo=dict(classes=self.source.classes, palette=self.source.palette),
            data_root=folder,
            pipeline=pipeline,
            test_mode=test_mode,
            ignore_index=VOID,
            serialize_data=False,  # some hundred paths; packing them collects the garbage of the whole process twice
        )
        # A test image is seen once, so nothing is gained by remembering it.
        self.decoded = None if test_mode else DecodedPipeline(self.pipeline)

    def prepare_data(self, idx: int) -> dict:
        """The sample of one image; a training image is decoded once."""
        return super().prepare_data(idx) if self.decoded is None else self.decoded(idx, self.get_data_info)

    def load_data_list(self) -> list[dict]:
        """One entry for each line of the split's list, or of its part with or without labels."""
        void = self.source.void
        label_map = None if void in (None, VOID) else {void: VOID}
        folder = Path(self.data_root)
        entries = self.source.read_list(folder, self.split)
        if self.split == "train":
            entries = training_lists(self.source, folder, self.labelled)[self.unlabelled]
        return [
            dict(
                img_path=f"{self.data_root}/{image}",
                seg_map_path=label and f"{self.data_root}/{label}",
                rater_paths=[rater and f"{self.data_root}/{rater}" for rater in raters],
                label_map=label_map,
                reduce_zero_label=False,
                seg_fields=[],
            )
            for image, label, *raters in (entry if len(entry) > 1 else (*entry, None) for entry in entries)
        ]


@TRANSFORMS.register_module()
class LoadRaters(BaseTransform):
    """Reads all raters' maps of an image as one stack (H, W, R) that is warped with the image.

    Args:
        source: The data set's name in ``segloss.datasets.DATASETS``.
    """

    def __init__(self, source: str) -> None:
        self.source = DATASETS[source]

    def transform(self, results: dict) -> dict:
        """Adds ``gt_raters`` to the results and to their ``seg_fields``; a rater without a map is void."""
        void = np.full_like(results["gt_seg_map"], VOID, dtype=np.uint8)
        maps = [void if path is None else self.source.read_label(Path(path)) for path in results["rater_paths"]]
        stack = np.stack(maps, axis=-1)
        results["gt_raters"] = (
            np.where(stack == self.source.void, VOID, stack) if self.source.void is not None else stack
        )
        results["seg_fields"].append("gt_raters")
        return results


REPEATABLE.add(LoadRaters)


@TRANSFORMS.register_module()
class PackRaters(PackSegInputs):
    """PackSegInputs that keeps the stack of raters too, as ``gt_raters`` (R, H, W)."""

    def transform(self, results: dict) -> dict:
        """Packs the image and its data sample."""
        packed = super().transform(results)
        raters = np.ascontiguousarray(results["gt_raters"].transpose(2, 0, 1))
        packed["data_samples"].gt_raters = PixelData(data=torch.from_numpy(raters))
        return packed


def with_raters(pipeline: list[dict], source: str) -> list[dict]:
    """The same pipeline, reading the raters beside the label and packing them with it."""
    result = []
    for step in pipeline:
        result.append({**step, "type": "PackRaters"} if step["type"] == "PackSegInputs" else step)
        if step["type"] == "LoadAnnotations":
            result.append(dict(type="LoadRaters", source=source))
    return result


class Visits(Dataset):
    """The n-th training sample for n = 0, 1, 2, ...: its image and its augmentation follow from the seed and n alone.

    So a training can start at any iteration without drawing what came before, and workers change nothing.
    Every pass over the images is one permutation of them.
    """

    def __init__(self, dataset: Dataset, seed: int, visits: int) -> None:
        self.dataset, self.seed, self.visits = dataset, seed, visits
        self._pass, self._permutation = -1, None

    def __len__(self) -> int:
        return self.visits

    def __getitem__(self, n: int) -> dict:
        number, place = divmod(n, len(self.dataset))
        if number != self._pass:
            self._pass, self._permutation = (
                number,
                np.random.default_rng((self.seed, number)).permutation(len(self.dataset)),
            )
        # Transforms draw from both of Python's and numpy's global generators.
        state = np.random.SeedSequence((self.seed, number, place)).generate_state(4)
        random.seed(state.tobytes())
        np.random.seed(state)
        return self.dataset[int(self._permutation[place])]
