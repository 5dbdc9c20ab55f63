"""Data sets as the engine reads them: image lists, stacks of raters, a restartable sequence of training samples."""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
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

from segloss.datasets import DATASETS, image_names, training_lists
from segloss.engine.cache import REPEATABLE, DecodedPipeline
from segloss.engine.losses import VOID

# The steps of a pipeline that read the label.
READS_LABEL = ("LoadAnnotations", "LoadLabel")


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

    def read_image(self, place: int) -> np.ndarray:
        """The image at a place of the list, uint8 (H, W, 3) RGB."""
        return self.source.read_image(Path(self.get_data_info(place)["img_path"]))

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
                source=self.source.name,
                folder=self.data_root,
                image=image,
                name=name,
                img_path=f"{self.data_root}/{image}",
                seg_map_path=label and f"{self.data_root}/{label}",
                rater_paths=[rater and f"{self.data_root}/{rater}" for rater in raters],
                label_map=label_map,
                reduce_zero_label=False,
                seg_fields=[],
            )
            for name, (image, label, *raters) in zip(
                image_names(entries), (entry if len(entry) > 1 else (*entry, None) for entry in entries), strict=True
            )
        ]


def read_classes(path: str, source: str) -> np.ndarray:
    """A label or rater file of a data set as class ids, uint8 (H, W), void as ``VOID``."""
    labels, void = DATASETS[source].read_label(Path(path)), DATASETS[source].void
    return labels if void in (None, VOID) else np.where(labels == void, np.uint8(VOID), labels)


@TRANSFORMS.register_module()
class LoadImage(BaseTransform):
    """Reads an image as its data set says, for files that LoadImageFromFile does not know; BGR as from there."""

    def transform(self, results: dict) -> dict:
        """Adds ``img`` and its sizes to the results."""
        image = DATASETS[results["source"]].read_image(Path(results["img_path"]))
        results["img"] = np.ascontiguousarray(image[..., ::-1])
        results["img_shape"] = results["ori_shape"] = image.shape[:2]
        return results


@TRANSFORMS.register_module()
class LoadLabel(BaseTransform):
    """Reads a label as its data set says, for files that LoadAnnotations does not know or whose values are no ids."""

    def transform(self, results: dict) -> dict:
        """Adds ``gt_seg_map`` to the results and to their ``seg_fields``."""
        results["gt_seg_map"] = read_classes(results["seg_map_path"], results["source"])
        results["seg_fields"].append("gt_seg_map")
        return results


@TRANSFORMS.register_module()
class LoadRaters(BaseTransform):
    """Reads the raters' maps of an image, once; each is warped like the label, whatever the pipeline does with it."""

    def transform(self, results: dict) -> dict:
        """Adds ``gt_rater0``, ``gt_rater1``, ... to the results and their ``seg_fields``; one without a map is void."""
        for rater, path in enumerate(results["rater_paths"]):
            missing = path is None
            results[f"gt_rater{rater}"] = (
                np.full_like(results["gt_seg_map"], VOID) if missing else read_classes(path, results["source"])
            )
            results["seg_fields"].append(f"gt_rater{rater}")
        return results


REPEATABLE.update((LoadImage, LoadLabel, LoadRaters))


@TRANSFORMS.register_module()
class LoadTruth(BaseTransform):
    """Reads the known probability of every class, for evaluation at the image's own size: nothing warps it."""

    def transform(self, results: dict) -> dict:
        """Adds ``gt_truth`` (C, H, W) to the results."""
        results["gt_truth"] = DATASETS[results["source"]].read_truth(Path(results["folder"]), results["image"])
        return results


@TRANSFORMS.register_module()
class PackSample(PackSegInputs):
    """PackSegInputs that keeps the image's name, and the raters' maps as ``gt_raters`` (R, H, W) where they were read.

    So it does with the known truth, as ``gt_truth`` (C, H, W).
    """

    def transform(self, results: dict) -> dict:
        """Packs the image and its data sample."""
        packed = super().transform(results)
        sample = packed["data_samples"]
        sample.set_metainfo(dict(name=results["name"]))
        if "gt_rater0" in results:
            raters = np.stack([results[f"gt_rater{rater}"] for rater in range(len(results["rater_paths"]))])
            sample.gt_raters = PixelData(data=torch.from_numpy(raters))
        if "gt_truth" in results:
            sample.gt_truth = PixelData(data=torch.from_numpy(results["gt_truth"]))
        return packed


def complete(pipeline: list[dict], beside_label: Sequence[str] = ()) -> list[dict]:
    """The same pipeline, packing with ``PackSample``, and with these transforms right after the label is read."""
    result = []
    for step in pipeline:
        result.append({**step, "type": "PackSample"} if step["type"] == "PackSegInputs" else step)
        if step["type"] in READS_LABEL:
            result += [dict(type=name) for name in beside_label]
    return result


def missing_raters(dataset: ListDataset) -> dict[str, int]:
    """How many images lack how many of their raters, for the record: ``{"0": 36, "1": 23}``."""
    missing = Counter(sum(path is None for path in image["rater_paths"]) for image in dataset.load_data_list())
    return {str(number): missing[number] for number in sorted(missing)}


class SampleSequence(Dataset):
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
        sequence = np.random.SeedSequence((self.seed, number, place))
        state = sequence.generate_state(4)
        random.seed(state.tobytes())
        np.random.seed(state)
        sample = self.dataset[int(self._permutation[place])]
        # From a stream of its own: whoever uses it or not, the augmentation is the same.
        draw = np.random.default_rng(sequence.spawn(1)[0]).random()
        sample["data_samples"].set_metainfo(dict(draw=draw))
        return sample
