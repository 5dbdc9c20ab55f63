"""Knowledge distillation: choosing the teacher cell, its predictions, and their run time."""

import hashlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from torch import Tensor, nn

from segloss import records
from segloss.engine.losses import TargetTerm
from segloss.files import sha256_of
from segloss.grid import Experiment


class TeacherError(RuntimeError):
    """The reason for which a cell has no teacher, in one sentence."""


def choose_teacher(experiment: Experiment, results: Path) -> dict[str, Any] | None:
    """The cell with the best validation mIoU among those that may be the teacher; on ties the lowest seed.

    Returns:
        The record's entry: ``cell``, the SHA-256 of its weights' file, and the validation mIoU of all ``candidates``.
        None for a cell without a teacher.

    Raises:
        TeacherError: one of them is not trained, or was trained with other settings than those in configs/.
    """
    candidates = {}
    for teacher in experiment.teachers:
        path = results / str(teacher.cell) / "record.json"
        if not path.exists():
            raise TeacherError(f"{experiment.cell} needs its teacher first: segloss train {teacher.cell}")
        record = records.read(path)
        if record["config_hash"] != teacher.config_hash:
            raise TeacherError(f"its teacher {teacher.cell} was trained with other settings than those in configs/")
        candidates[str(teacher.cell)] = record["validation"]["metrics"]["mIoU"]
    if not candidates:
        return None
    best = max(candidates, key=candidates.get)
    return {"cell": best, "weights_sha256": sha256_of(weights_file(results / best)), "candidates": candidates}


def training_identity(
    config_hash: str, training_data: str, teacher: Mapping[str, Any] | None, pretrained: Mapping[str, Any] | None
) -> str:
    """The identity of a training, that of its checkpoints and weights.

    Args:
        config_hash: That of its settings.
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
        raise TeacherError(f"{path} is gone: delete {folder / 'record.json'} to train that cell again")
    return path


def load_model(folder: Path) -> nn.Module:
    """The trained model of a finished cell, in evaluation mode.

    Raises:
        TeacherError: its weights are gone or are not those of its record.
    """
    record = records.read(folder / "record.json")
    path = weights_file(folder)
    weights = torch.load(path, map_location="cpu", weights_only=True)
    training_data, teacher = record["data"]["fingerprints"]["training"], record.get("teacher")
    if weights["config_hash"] != training_identity(record["config_hash"], training_data, teacher, record["pretrained"]):
        raise TeacherError(f"{path} is not what {folder / 'record.json'} was measured on: delete both and train again")
    init_default_scope("mmseg")
    model = MODELS.build(ConfigDict(record["config"]["model"]))
    model.load_state_dict(weights["model"])
    return model.eval().requires_grad_(False)


def whole_logits(model: nn.Module, inputs: Tensor) -> Tensor:
    """The logits (B, C, H, W) of a segmentor for a batch of normalised images (B, 3, H, W), at their size."""
    return model.encode_decode(inputs, [dict(img_shape=inputs.shape[2:])] * len(inputs))


class Teacher:
    """A trained model that labels batches, without gradients, on a GPU in half precision; no submodule of its student.

    Args:
        model: In evaluation mode.
        hard_weight: Weight of the hard labels in pixel-wise losses, the teacher's is 1 - hard_weight. Default .5, as in
            Wang et al., Jaccard Metric Losses, 2023, https://arxiv.org/abs/2302.05666.
    """

    def __init__(self, model: nn.Module, hard_weight: float = 0.5) -> None:
        self.model, self.hard_weight = model, hard_weight
        self._seconds, self._events = 0.0, []

    @classmethod
    def load(cls, entry: dict[str, Any], experiment: Experiment, results: Path) -> "Teacher":
        """The teacher of an experiment that ``choose_teacher`` chose."""
        return cls(load_model(results / entry["cell"]), experiment.scenario["teacher"].get("hard_weight", 0.5))

    @torch.no_grad()
    def logits(self, inputs: Tensor) -> Tensor:
        """The model's logits for a batch of normalised images (B, 3, H, W)."""
        self.model.to(inputs.device)
        if inputs.device.type == "cpu":
            started = time.perf_counter()
            logits = whole_logits(self.model, inputs)
            self._seconds += time.perf_counter() - started
            return logits
        # A GPU runs asynchronously: events measure its time without a synchronisation.
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        with torch.autocast(inputs.device.type, dtype=torch.float16):
            logits = whole_logits(self.model, inputs)
        end.record()
        self._events.append((start, end))
        return logits

    def parts(
        self, labelled: tuple[Tensor, Tensor], taught: tuple[Tensor, Tensor], temperature: float
    ) -> list[TargetTerm]:
        """The targets of a student's losses.

        Pixel-wise losses: hard_weight L(z, y) + (1 - hard_weight) T^2 L(z / T, teacher), with T^2 so that the gradient
        keeps its size (Hinton et al., 2015, https://arxiv.org/abs/1503.02531). Cross-entropy against the teacher is the
        KL divergence but for a constant. All other losses: against the teacher alone.

        Args:
            labelled: Class indices (B, H, W) and which count.
            taught: The teacher's probabilities (B, C, H, W) at that temperature, and where they count.
            temperature: T.
        """
        soft_weight = (1 - self.hard_weight) * temperature**2
        parts = [
            TargetTerm(*labelled, weight=self.hard_weight, pixelwise=True),
            TargetTerm(*taught, weight=soft_weight, temperature=temperature, pixelwise=True),
            TargetTerm(*taught, temperature=temperature, pixelwise=False),
        ]
        return [part for part in parts if part.weight > 0]

    def seconds(self) -> float:
        """Its run time so far."""
        if self._events:
            torch.cuda.synchronize()
            self._seconds += sum(start.elapsed_time(end) for start, end in self._events) / 1000
            self._events = []
        return self._seconds
