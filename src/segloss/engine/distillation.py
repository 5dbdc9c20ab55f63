"""Knowledge distillation: which trained cell teaches, what it says of a batch, and what that costs."""

import hashlib
import time
from pathlib import Path
from typing import Any

import torch
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from torch import Tensor, nn

from segloss import grid, records
from segloss.engine.losses import TargetTerm
from segloss.grid import Cell


class TeacherError(RuntimeError):
    """Why a cell cannot be taught, in one sentence."""


def choose(cell: Cell, results: Path) -> dict[str, Any] | None:
    """The best on validation of the cells that may teach a cell; of equals the one with the lowest seed.

    Returns:
        For the record: the ``cell`` that teaches, the SHA-256 of its weights' file, and the validation mIoU of all
        ``candidates``. None where the cell has no teacher.

    Raises:
        TeacherError: one of them is not trained, or was trained with other settings than now stand in configs/.
    """
    candidates = {}
    for teacher in grid.teachers(cell):
        path = results / str(teacher) / "record.json"
        if not path.exists():
            raise TeacherError(f"{cell} needs its teacher first: segloss train {teacher}")
        record = records.read(path)
        if record["config_hash"] != grid.config_hash(teacher):
            raise TeacherError(f"its teacher {teacher} was trained with other settings than now stand in configs/")
        candidates[str(teacher)] = record["validation"]["metrics"]["mIoU"]
    if not candidates:
        return None
    best = max(candidates, key=candidates.get)
    digest = hashlib.sha256(weights_file(results / best).read_bytes()).hexdigest()
    return {"cell": best, "weights_sha256": digest, "candidates": candidates}


def identity(cell: Cell, chosen: dict[str, Any] | None) -> str:
    """The identity of a cell's training: the hash of its settings, and of its teacher's weights if it has one."""
    own = grid.config_hash(cell)
    return hashlib.sha256(f"{own}{chosen['weights_sha256']}".encode()).hexdigest() if chosen else own


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
    if weights["config_hash"] != record["config_hash"]:
        raise TeacherError(f"{path} is not what {folder / 'record.json'} was measured on: delete both and train again")
    init_default_scope("mmseg")
    model = MODELS.build(ConfigDict(record["config"]["model"]))
    model.load_state_dict(weights["model"])
    return model.eval().requires_grad_(False)


def whole_logits(model: nn.Module, inputs: Tensor) -> Tensor:
    """The logits (B, C, H, W) of a segmentor for a batch of normalised images (B, 3, H, W), at their size."""
    return model.encode_decode(inputs, [dict(img_shape=inputs.shape[2:])] * len(inputs))


class Teacher:
    """A trained model that labels batches: without gradients, in half precision on a GPU. No part of its student.

    Args:
        model: In evaluation mode.
        hard_weight: Weight of the hard labels in pixel-wise losses, the teacher's is 1 - hard_weight. Default .5, as in
            Wang et al., Jaccard Metric Losses, 2023, https://arxiv.org/abs/2302.05666.
    """

    def __init__(self, model: nn.Module, hard_weight: float = 0.5) -> None:
        self.model, self.hard_weight = model, hard_weight
        self._seconds, self._events = 0.0, []

    @classmethod
    def of(cls, chosen: dict[str, Any], cell: Cell, results: Path) -> "Teacher":
        """The teacher that ``choose`` found for a cell."""
        options = grid.settings(cell)["labels"]["teacher"]
        return cls(load_model(results / chosen["cell"]), options.get("hard_weight", 0.5))

    @torch.no_grad()
    def logits(self, inputs: Tensor) -> Tensor:
        """What the model says of a batch of normalised images (B, 3, H, W)."""
        self.model.to(inputs.device)
        if inputs.device.type == "cpu":
            started = time.perf_counter()
            logits = whole_logits(self.model, inputs)
            self._seconds += time.perf_counter() - started
            return logits
        # A GPU works on while Python goes ahead: it keeps the time itself, and is not waited for.
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
        """What a student's losses are computed against.

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
        """The time it has taken so far."""
        if self._events:
            torch.cuda.synchronize()
            self._seconds += sum(start.elapsed_time(end) for start, end in self._events) / 1000
            self._events = []
        return self._seconds
