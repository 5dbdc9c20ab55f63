"""Knowledge distillation: choosing the teacher cell, its predictions, and their run time."""

import hashlib
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional

from segloss import records
from segloss.engine.losses import TargetTerm
from segloss.engine.pretrained import prepare_timm
from segloss.files import sha256_of
from segloss.grid import Experiment
from segloss.grid.zoo import OWN_TARGET


class TeacherError(RuntimeError):
    """A cell has no usable teacher; the message is the reason, in one sentence."""


def choose_teacher(experiment: Experiment, results: Path) -> dict[str, Any] | None:
    """The cell with the best validation mIoU among those that may be the teacher; on ties the lowest seed.

    Returns:
        The record's entry: ``cell``, the SHA-256 of its weights file, and the validation mIoU of all ``candidates``.
        None for a cell without a teacher.

    Raises:
        TeacherError: a candidate is not trained, or was trained with settings other than those in configs/.
    """
    candidates = {}
    for teacher in experiment.teachers:
        path = results / str(teacher.cell) / "record.json"
        if not path.exists():
            raise TeacherError(f"{experiment.cell} needs its teacher first: segloss train {teacher.cell}")
        record = records.read(path)
        if record["config_hash"] != teacher.config_hash:
            raise TeacherError(f"its teacher {teacher.cell} was trained with settings other than those in configs/")
        candidates[str(teacher.cell)] = record["validation"]["metrics"]["mIoU"]
    if not candidates:
        return None
    best = max(candidates, key=candidates.get)
    return {"cell": best, "weights_sha256": sha256_of(weights_file(results / best)), "candidates": candidates}


def training_identity(
    config_hash: str, training_data: str, teacher: Mapping[str, Any] | None, pretrained: Mapping[str, Any] | None
) -> str:
    """The identity of a training, stored with its checkpoints and weights.

    Args:
        config_hash: The hash of its settings.
        training_data: The fingerprint of its training data: with corrected labels it is another training.
        teacher: The record's entry about its teacher.
        pretrained: The record's entry about its pretrained weights.
    """
    weights = [entry[key] for entry, key in ((teacher, "weights_sha256"), (pretrained, "sha256")) if entry]
    return hashlib.sha256("".join([config_hash, training_data, *weights]).encode()).hexdigest()


def weights_file(folder: Path) -> Path:
    """The weights of a finished cell.

    Raises:
        TeacherError: they are gone.
    """
    path = folder / "work" / "weights.pt"
    if not path.exists():
        raise TeacherError(f"{path} is missing: delete {folder / 'record.json'} to train that cell again")
    return path


def load_weights(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The record of a finished cell and the content of its weights file.

    Raises:
        TeacherError: the weights are gone or are not those of the record.
    """
    record = records.read(folder / "record.json")
    path = weights_file(folder)
    weights = torch.load(path, map_location="cpu", weights_only=True)
    training_data, teacher = record["data"]["fingerprints"]["training"], record.get("teacher")
    if weights["config_hash"] != training_identity(record["config_hash"], training_data, teacher, record["pretrained"]):
        raise TeacherError(f"{path} is not what {folder / 'record.json'} was measured on: delete both and train again")
    return record, weights


def load_model(folder: Path) -> nn.Module:
    """The trained model of a finished cell, in evaluation mode; errors as for ``load_weights``."""
    record, weights = load_weights(folder)
    init_default_scope("mmseg")
    config = ConfigDict(record["config"]["model"])
    prepare_timm(config)
    model = MODELS.build(config)
    model.load_state_dict(weights["model"])
    return model.eval().requires_grad_(False)


def whole_logits(model: nn.Module, inputs: Tensor) -> Tensor:
    """The logits (B, C, H, W) of a segmentor for a batch of normalised images (B, 3, H, W), at their size."""
    return model.encode_decode(inputs, [dict(img_shape=inputs.shape[2:])] * len(inputs))


def head_logits(model: nn.Module, inputs: Tensor) -> list[Tensor]:
    """The logits (B, C, H, W) of a segmentor's decode head and of its auxiliary heads, at the size of the images.

    For a cascade of decode heads, the logits of the last one only.
    """
    if not getattr(model, "with_auxiliary_head", False) or isinstance(model.decode_head, nn.ModuleList):
        return [whole_logits(model, inputs)]
    features, sizes = model.extract_feat(inputs), [dict(img_shape=inputs.shape[2:])] * len(inputs)
    auxiliary = model.auxiliary_head
    auxiliary = list(auxiliary) if isinstance(auxiliary, nn.ModuleList) else [auxiliary]
    main = model.decode_head.predict(features, sizes, model.test_cfg)
    return [main, *(auxiliary_logits(head, features, inputs) for head in semantic_heads(auxiliary))]


def semantic_heads(heads: Iterable[nn.Module]) -> list[nn.Module]:
    """The heads that predict the classes, not a target of their own."""
    return [head for head in heads if type(head).__name__ not in OWN_TARGET]


def auxiliary_logits(head: nn.Module, features: Any, inputs: Tensor) -> Tensor:
    """The logits (B, C, H, W) of an auxiliary head; for a head with several outputs, those of the first."""
    logits = head(features)
    return resize_to(logits[0] if isinstance(logits, list | tuple) else logits, inputs, head.align_corners)


def resize_to(logits: Tensor, inputs: Tensor, align_corners: bool) -> Tensor:
    """Resize logits bilinearly to the size of the images, as MMSegmentation's heads do."""
    return functional.interpolate(logits, inputs.shape[2:], mode="bilinear", align_corners=align_corners)


Labels = tuple[Tensor, Tensor]  # a target and its valid pixels


class Teacher:
    """A trained model that labels batches, without gradients, in half precision on a GPU.

    It is not a submodule of its student.

    Args:
        model: In evaluation mode.
        hard_weight: Weight of the hard labels in pixel-wise losses; that of the teacher is 1 - hard_weight.
        region_hard_weight: The same for all other losses.

    Both are .5 by default, as in all releases of the code of Wang et al., Jaccard Metric Losses, 2023,
    https://arxiv.org/abs/2302.05666.
    """

    def __init__(self, model: nn.Module, hard_weight: float = 0.5, region_hard_weight: float = 0.5) -> None:
        self.model, self.hard_weight, self.region_hard_weight = model, hard_weight, region_hard_weight
        self._seconds, self._events = 0.0, []

    @classmethod
    def load(cls, entry: dict[str, Any], experiment: Experiment, results: Path) -> "Teacher":
        """The teacher of an experiment, from the entry that ``choose_teacher`` returned."""
        options = experiment.scenario["teacher"]
        weights = {key: options[key] for key in ("hard_weight", "region_hard_weight") if key in options}
        return cls(load_model(results / entry["cell"]), **weights)

    @torch.no_grad()
    def logits(self, inputs: Tensor) -> list[Tensor]:
        """The logits of the model's decode head and auxiliary heads for a batch of normalised images (B, 3, H, W)."""
        self.model.to(inputs.device)
        if inputs.device.type == "cpu":
            started = time.perf_counter()
            logits = head_logits(self.model, inputs)
            self._seconds += time.perf_counter() - started
            return logits
        # A GPU runs asynchronously: events measure its time without a synchronisation.
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        with torch.autocast(inputs.device.type, dtype=torch.float16):
            logits = head_logits(self.model, inputs)
        end.record()
        self._events.append((start, end))
        return logits

    def terms(
        self, labelled: Labels, taught: Labels, temperature: float, distance_maps: Tensor | None = None
    ) -> list[TargetTerm]:
        """The targets of a student's losses.

        Pixel-wise losses: w L(z, y) + (1 - w) T^2 L(z / T, teacher) with w the hard weight, and T^2 so that the
        gradient keeps its magnitude (Hinton et al., 2015, https://arxiv.org/abs/1503.02531); cross-entropy against the
        teacher is the KL divergence up to a constant. All other losses: v L(z, y) + (1 - v) L(z / T, teacher).

        Args:
            labelled: Class indices (B, H, W) and their valid pixels.
            taught: The teacher's probabilities (B, C, H, W) at that temperature, and their valid pixels.
            temperature: T.
            distance_maps: The signed distances of the labels (B, C, H, W). Default: None: the losses that need them
                compute them, as they always do for the teacher's probabilities.
        """
        hard, region = self.hard_weight, self.region_hard_weight
        terms = [
            TargetTerm(*labelled, weight=hard, pixelwise=True),
            TargetTerm(*taught, weight=(1 - hard) * temperature**2, temperature=temperature, pixelwise=True),
            TargetTerm(*labelled, weight=region, pixelwise=False, distance_maps=distance_maps),
            TargetTerm(*taught, weight=1 - region, temperature=temperature, pixelwise=False),
        ]
        return [term for term in terms if term.weight > 0]

    def seconds(self) -> float:
        """Its run time so far."""
        if self._events:
            torch.cuda.synchronize()
            self._seconds += sum(start.elapsed_time(end) for start, end in self._events) / 1000
            self._events = []
        return self._seconds
