"""Checkpoints of a training: damage anywhere is detected, and the previous checkpoint is used instead."""

from pathlib import Path

import numpy as np
import pytest
import torch

from segloss.engine.checkpoints import load_checkpoint, previous, remove_checkpoints, save_checkpoint


def state(iteration: int, config_hash: str = "mine") -> dict:
    weights = torch.full((64, 64), float(iteration))
    return {"config_hash": config_hash, "iteration": iteration, "model": {"weight": weights}}


def iteration(path: Path, config_hash: str = "mine") -> int | None:
    checkpoint = load_checkpoint(path, config_hash)
    assert checkpoint is None or (checkpoint["model"]["weight"] == checkpoint["iteration"]).all()
    return checkpoint and checkpoint["iteration"]


def test_the_newest_state_is_used_and_the_one_before_kept(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    assert iteration(path) is None
    for number in (1, 2, 3):
        save_checkpoint(path, state(number))
        assert iteration(path) == number
    assert iteration(previous(path)) == 2
    assert sorted(file.name for file in tmp_path.iterdir()) == ["checkpoint.previous.pt", "checkpoint.pt"]
    # A save interrupted between its two renames.
    path.unlink()
    assert iteration(path) == 2
    remove_checkpoints(path)
    assert list(tmp_path.iterdir()) == []


def test_any_damage_falls_back_to_the_state_before(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    for number in (1, 2):
        save_checkpoint(path, state(number))
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    damages = [whole[:length] for length in random.integers(0, len(whole), 40)] + [b"", b"nothing of the kind"]
    for place in random.integers(0, len(whole), 200):
        damages.append(whole[:place] + bytes([whole[place] ^ (1 << random.integers(8))]) + whole[place + 1 :])
    fell_back = 0
    for damaged in damages:
        path.write_bytes(damaged)
        loaded = iteration(path)
        assert loaded in (1, 2)  # a flipped bit in the padding between tensors does no harm
        fell_back += loaded == 1
    assert fell_back > len(damages) * 0.7
    previous(path).write_bytes(whole[:100])
    path.write_bytes(whole[:100])
    assert iteration(path) is None


def test_a_state_of_other_settings_is_never_used(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, state(1, "other"))
    assert iteration(path) is None
    save_checkpoint(path, state(2))
    assert iteration(path) == 2
    path.write_bytes(b"damaged")
    assert iteration(path) is None  # the previous one has other settings
    torch.save([1, 2], path)
    assert iteration(path) is None


@pytest.mark.parametrize("name", ["checkpoint.pt", "checkpoint.previous.pt"])
def test_nothing_in_a_state_is_executed(tmp_path: Path, name: str) -> None:
    class Harm:
        def __reduce__(self) -> tuple:
            return Path.touch, (tmp_path / "harm",)

    torch.save({"config_hash": "mine", "iteration": 1, "model": Harm()}, tmp_path / name)
    assert load_checkpoint(tmp_path / "checkpoint.pt", "mine") is None
    assert not (tmp_path / "harm").exists()
