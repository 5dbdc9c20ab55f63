"""Data sets in MMSegmentation: image lists, stacks of raters, a restartable sequence of training samples."""

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

from segloss.datasets import DatasetError, find, training_lists
from segloss.engine.cache import DETERMINISTIC, CachedPipeline
from segloss.engine.losses import VOID
from segloss.labels import dice_rater_weights

# The steps of a pipeline that read the label.
READS_LABEL = ("LoadLabel",)


@MMSEG_DATASETS.register_module()
class ListDataset(BaseSegDataset):
    """A data set of ``segloss.datasets`` as MMSegmentation reads it.

    Args:
        source: Its name, as ``segloss.datasets.find`` takes it.
        folder: Its folder.
        split: ``train``, ``val`` or ``test``.
        labelled: Which training images keep their labels, as ``training_lists`` takes it. Default: None: all.
        unlabelled: Whether to read the other training images instead, without their labels.
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
        check_readers(pipeline)
        self.source, self.split, self.labelled, self.unlabelled = find(source), split, labelled, unlabelled
        self.source_name = source
        super().__init__(
            metainfo=dict(classes=self.source.classes, palette=self.source.palette),
            data_root=folder,
            pipeline=pipeline,
            test_mode=test_mode,
            ignore_index=VOID,
            serialize_data=False,  # a few hundred paths; serialising them runs a full garbage collection twice
        )
        # A test image is read once: there is nothing to gain from a cache.
        self.cache = None if test_mode else CachedPipeline(self.pipeline, len(self))

    def prepare_data(self, idx: int) -> dict:
        """The sample of one image; a training image is decoded once."""
        return super().prepare_data(idx) if self.cache is None else self.cache(idx, self.get_data_info)

    def read_image(self, place: int) -> np.ndarray:
        """The image at a position of the list, uint8 (H, W, 3) RGB."""
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
                source=self.source_name,
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
                self.source.image_names(folder, entries),
                (entry if len(entry) > 1 else (*entry, None) for entry in entries),
                strict=True,
            )
        ]


def read_classes(path: str, source: str, size: tuple[int, int]) -> np.ndarray:
    """A label or rater file of an image of that size as class ids, uint8 (H, W), void as ``VOID``."""
    dataset = find(source)
    labels, void = dataset.load_label(Path(path), size), dataset.void
    return labels if void in (None, VOID) else np.where(labels == void, np.uint8(VOID), labels)


@TRANSFORMS.register_module()
class LoadImage(BaseTransform):
    """Reads an image with its data set's own reader; three channels become BGR, as MMSegmentation expects them."""

    def transform(self, results: dict) -> dict:
        """Adds ``img`` and its sizes to the results."""
        image = find(results["source"]).load_image(Path(results["img_path"]))
        results["img"] = np.ascontiguousarray(image[..., ::-1]) if image.shape[2] == 3 else image
        results["img_shape"] = results["ori_shape"] = image.shape[:2]
        return results


@TRANSFORMS.register_module()
class LoadLabel(BaseTransform):
    """Reads a label with its data set's own reader, which checks its size and values against image and classes."""

    def transform(self, results: dict) -> dict:
        """Adds ``gt_seg_map`` to the results and to their ``seg_fields``."""
        results["gt_seg_map"] = read_classes(results["seg_map_path"], results["source"], results["ori_shape"])
        results["seg_fields"].append("gt_seg_map")
        return results


@TRANSFORMS.register_module()
class LoadRaters(BaseTransform):
    """Reads the raters' maps of an image; all later transforms warp each of them like the label."""

    def transform(self, results: dict) -> dict:
        """Adds ``gt_rater0``, ``gt_rater1``, ... to the results and their ``seg_fields``; one without a map is void."""
        for rater, path in enumerate(results["rater_paths"]):
            results[f"gt_rater{rater}"] = (
                np.full_like(results["gt_seg_map"], VOID)
                if path is None
                else read_classes(path, results["source"], results["ori_shape"])
            )
            results["seg_fields"].append(f"gt_rater{rater}")
        return results


@TRANSFORMS.register_module()
class LoadRaterWeights(BaseTransform):
    """Measures the weight of each rater on the whole image, before it is cropped, by ``dice_rater_weights``.

    Args:
        num_classes: Number of classes.
        background: As for ``dice_rater_weights``. Default 0.
    """

    def __init__(self, num_classes: int, background: int | None = 0) -> None:
        self.num_classes, self.background = num_classes, background

    def transform(self, results: dict) -> dict:
        """Adds ``rater_weights`` (R,) to the results."""
        maps = np.stack([results[f"gt_rater{rater}"] for rater in range(len(results["rater_paths"]))])
        labels = torch.from_numpy(maps).long().unsqueeze(0)
        weights = dice_rater_weights(labels, labels != VOID, self.num_classes, background=self.background)
        results["rater_weights"] = weights[0].tolist()
        return results


DETERMINISTIC.update((LoadImage, LoadLabel, LoadRaters, LoadRaterWeights))


@TRANSFORMS.register_module()
class LoadTruth(BaseTransform):
    """Reads the known probability of every class, for evaluation at the image's own size: nothing warps it."""

    def transform(self, results: dict) -> dict:
        """Adds ``gt_truth`` (C, H, W) to the results."""
        results["gt_truth"] = find(results["source"]).read_truth(Path(results["folder"]), results["image"])
        return results


@TRANSFORMS.register_module()
class PackSample(PackSegInputs):
    """PackSegInputs that keeps the image's name and every map made in addition to the label.

    The raters' maps become ``gt_raters`` (R, H, W), the known truth ``gt_truth`` (C, H, W). A custom transform
    adds a map (H, W) or (channels, H, W) to the results and its name to ``results["pixel_fields"]``; it is stored in
    the data sample under that name. Such a map is warped like the label if it is (H, W), was made right after the
    label was read and its name is in ``seg_fields`` too; one made by ``before_packing`` needs no warping.
    """

    def transform(self, results: dict) -> dict:
        """Packs the image and its data sample."""
        packed = super().transform(results)
        sample = packed["data_samples"]
        sample.set_metainfo({key: results[key] for key in ("name", "rater_weights") if key in results})
        if "gt_rater0" in results:
            raters = np.stack([results[f"gt_rater{rater}"] for rater in range(len(results["rater_paths"]))])
            sample.gt_raters = PixelData(data=torch.from_numpy(raters))
        for name in (*results.get("pixel_fields", ()), *(["gt_truth"] if "gt_truth" in results else [])):
            sample.set_data({name: PixelData(data=torch.from_numpy(np.ascontiguousarray(results[name])))})
        return packed


def check_readers(pipeline: Sequence[Mapping[str, Any]]) -> None:
    """Raise DatasetError if a step reads files without the data set: it would take raw values for class ids."""
    for step in pipeline:
        transform = TRANSFORMS.get(step["type"]) if isinstance(step.get("type"), str) else None
        name = step.get("type", "")
        if transform is not None and name.startswith("Load") and not transform.__module__.startswith("segloss."):
            raise DatasetError(
                "a pipeline must read its files with LoadImage and LoadLabel, which use the data set's readers, got "
                f"{name}"
            )


def complete(
    pipeline: list[dict],
    beside_label: Sequence[Mapping[str, Any]] = (),
    before_packing: Sequence[Mapping[str, Any]] = (),
) -> list[dict]:
    """The same pipeline, packing with ``PackSample``, with more transforms.

    Args:
        pipeline: The transforms of a data set's config.
        beside_label: Transforms, as MMEngine's config dicts, inserted right after the label is read.
        before_packing: Transforms inserted right before packing, for the sample as it is trained on.

    Raises:
        DatasetError: A step reads files without the data set.
    """
    check_readers(pipeline)
    result = []
    for step in pipeline:
        if step["type"] == "PackSegInputs":
            result += [*(dict(transform) for transform in before_packing), {**step, "type": "PackSample"}]
        else:
            result.append(step)
        if step["type"] in READS_LABEL:
            result += [dict(transform) for transform in beside_label]
    return result


def missing_raters(dataset: ListDataset) -> dict[str, int]:
    """The number of images by how many of their raters have no map, for the record: ``{"0": 36, "1": 23}``."""
    missing = Counter(sum(path is None for path in image["rater_paths"]) for image in dataset.load_data_list())
    return {str(number): missing[number] for number in sorted(missing)}


class SampleSequence(Dataset):
    """The n-th training sample for n = 0, 1, 2, ...: its image and its augmentation depend on the seed and n alone.

    So training can start at any iteration without drawing the earlier samples, and the number of workers has no effect.
    Every pass over the images is one permutation of them.
    """

    def __init__(self, dataset: Dataset, seed: int, samples: int) -> None:
        self.dataset, self.seed, self.samples = dataset, seed, samples
        self._pass, self._permutation = -1, None

    def __len__(self) -> int:
        return self.samples

    def __getitem__(self, n: int) -> dict:
        number, place = divmod(n, len(self.dataset))
        if number != self._pass:
            self._pass, self._permutation = (
                number,
                np.random.default_rng((self.seed, number)).permutation(len(self.dataset)),
            )
        # Transforms draw from the global generators of both Python and numpy.
        sequence = np.random.SeedSequence((self.seed, number, place))
        state = sequence.generate_state(4)
        random.seed(state.tobytes())
        np.random.seed(state)
        sample = self.dataset[int(self._permutation[place])]
        # From a separate stream: the augmentation is the same whether or not the number is used.
        draw = np.random.default_rng(sequence.spawn(1)[0]).random()
        sample["data_samples"].set_metainfo(dict(draw=draw))
        return sample
