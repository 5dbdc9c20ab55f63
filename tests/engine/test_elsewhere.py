"""A loss of segloss in a user's MMSegmentation config: custom_imports, a type, MMEngine's Runner, nothing else."""

import subprocess
import sys
from pathlib import Path

import pytest

CONFIG = """
_base_ = ["mmseg::_base_/models/fcn_unet_s5-d16.py"]
custom_imports = dict(imports=["segloss.engine"])
default_scope = "mmseg"
model = dict(
    data_preprocessor=dict(type="SegDataPreProcessor", size=(64, 64), seg_pad_val=255),
    backbone=dict(base_channels=4),
    decode_head=dict(
        in_channels=4,
        channels=4,
        num_classes=5,
        loss_decode=dict(_delete_=True, type="JaccardMetricLoss"),
    ),
    auxiliary_head=dict(
        in_channels=8,
        channels=4,
        num_classes=5,
        loss_decode=dict(_delete_=True, type="CompoundLoss", loss_weight=0.4, terms=[
            dict(loss="cross_entropy", weight=0.25),
            dict(loss="dice_semimetric", weight=0.75),
        ]),
    ),
    test_cfg=dict(_delete_=True, mode="whole"),
)
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(
        type="BaseSegDataset",
        data_root="{data}",
        metainfo=dict(classes=("background", "disc", "box", "bar", "dot"), palette=[[0, 0, 0]] * 5),
        data_prefix=dict(img_path="images", seg_map_path="labels"),
        img_suffix=".png",
        pipeline=[dict(type="LoadImageFromFile"), dict(type="LoadAnnotations"), dict(type="PackSegInputs")],
    ),
)
train_cfg = dict(type="IterBasedTrainLoop", max_iters=12, val_interval=1000)
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=0.01))
default_hooks = dict(logger=dict(type="LoggerHook", interval=1), checkpoint=None)
randomness = dict(seed=0)
work_dir = "work"
"""

SCRIPT = """
from mmengine.config import Config
from mmengine.runner import Runner
Runner.from_cfg(Config.fromfile("own.py")).train()
"""


@pytest.mark.slow
def test_an_own_config_trains_with_a_loss_of_segloss(tmp_path: Path, phantom: Path) -> None:
    (tmp_path / "own.py").write_text(CONFIG.replace("{data}", str(phantom / "phantom")))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [line for line in (done.stdout + done.stderr).splitlines() if "decode.loss_jaccard_metric:" in line]
    losses = [float(line.split("decode.loss_jaccard_metric:")[1].split()[0]) for line in lines]
    assert len(losses) == 12
    assert losses[-1] < losses[0]
    assert "aux.loss_compound:" in lines[0]
