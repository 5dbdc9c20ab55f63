"""Wrong options of optimisers, schedulers and test_cfg, and wrong names in models: one sentence while planning."""

from pathlib import Path

import pytest

from segloss.grid import ConfigError
from tests.conftest import grid_of

OPTIMIZER = 'dict(type="AdamW", lr=1e-2, weight_decay=0.01)'
SCHEDULER = 'dict(type="PolyLR", power=0.9, eta_min=0.0, begin=0, end=iterations, by_epoch=False)'
SGD = 'dict(type="SGD", lr=0.1, momentum=0.9'
TEST_CFG = 'test_cfg = dict(mode="whole")'
SCHEDULES = [
    (OPTIMIZER, 'dict(type="AdamW", lrr=1e-2)', "optimizer: AdamW: unknown option 'lrr' (did you mean 'lr'?); known:"),
    (OPTIMIZER, 'dict(type="AdamW", lr=1e-2, wieght_decay=0.1)', "'wieght_decay' (did you mean 'weight_decay'?)"),
    (OPTIMIZER, 'dict(type="AdamW", lr="1e-2")', "optimizer: AdamW: Expected lr to be a number of at least 0, got '1e"),
    (OPTIMIZER, 'dict(type="AdamW", lr=-1e-2)', "Expected lr to be a number of at least 0, got -0.01."),
    (OPTIMIZER, 'dict(type="AdamW", lr=True)', "Expected lr to be a number of at least 0, got True."),
    (OPTIMIZER, 'dict(type="AdamW", lr=1e-2, betas=0.9)', "Expected betas to be a sequence of length 2, each item"),
    (OPTIMIZER, 'dict(type="AdamW", lr=1e-2, betas=(0.9, 1.0))', "a number of at least 0 and below 1, got (0.9, 1.0)."),
    (OPTIMIZER, 'dict(type="AdamW", lr=1e-2, amsgrad="no")', "Expected amsgrad to be true or false, got 'no'."),
    (OPTIMIZER, 'dict(type="AdamW", lr=1e-2, momentum=0.9)', "AdamW: unknown option 'momentum'"),
    (OPTIMIZER, f"{SGD}, weight_decay=None)", "SGD: Expected weight_decay to be a number of at least 0, got None."),
    (OPTIMIZER, 'dict(type="SGD", lr=0.1, nesterov=True)', "nesterov needs a momentum above 0 and no dampening"),
    (OPTIMIZER, 'dict(type="LBFGS")', "LBFGS computes the loss several times an iteration, which MMEngine does not"),
    (OPTIMIZER, 'dict(type="Adafactor")', "unknown optimiser 'Adafactor' (did you mean 'TorchAdafactor'?)"),
    (SCHEDULER, SCHEDULER.replace("begin", "begn"), "PolyLR: unknown option 'begn' (did you mean 'begin'?)"),
    (SCHEDULER, SCHEDULER.replace("power=0.9", 'power="0.9"'), "PolyLR: Expected power to be a number, got '0.9'."),
    (SCHEDULER, SCHEDULER.replace("end=iterations", "end=0.5"), "Expected end to be a whole number of at least 1, got"),
    (SCHEDULER, SCHEDULER.replace("begin=0", "begin=16"), "end must be above begin, got begin=16 and end=16"),
    (SCHEDULER, SCHEDULER.replace("by_epoch=False", "by_epoch=True"), "Expected by_epoch to be False, got True."),
    (SCHEDULER, SCHEDULER.replace(", by_epoch=False", ""), "PolyLR needs by_epoch=False: trainings here count iterati"),
    (SCHEDULER, 'dict(type="StepLR", by_epoch=False)', "StepLR needs step_size; its options are begin, by_epoch"),
    (SCHEDULER, 'dict(type="MultiStepLR", milestones=8, by_epoch=False)', "Expected milestones to be a sequence, each"),
    (
        SCHEDULER,
        'dict(type="LinearLR", start_factor=2, by_epoch=False)',
        "start_factor to be a number from 0 to 1, got 2",
    ),
    (SCHEDULER, 'dict(type="ReduceOnPlateauLR")', "ReduceOnPlateauLR counts epochs, and trainings here count iteratio"),
    (
        "batch_size = 4",
        "batch_size = 4\nclip_grad = dict(max_nrm=1)",
        "unknown option 'max_nrm' (did you mean 'max_norm'",
    ),
    (
        "batch_size = 4",
        "batch_size = 4\nclip_grad = dict(norm_type=2)",
        "clip_grad: norm needs max_norm; its options a",
    ),
    (
        "batch_size = 4",
        "batch_size = 4\nclip_grad = dict(type='nrm', max_norm=1)",
        "unknown type 'nrm' (did you mean 'n",
    ),
    ("batch_size = 4", "batch_size = 4\nparamwise_cfg = dict(custom_key={})", "unknown key 'custom_key' (did you mean"),
    (
        "batch_size = 4",
        "batch_size = 4\nparamwise_cfg = dict(norm_decay_mult='0')",
        "Expected norm_decay_mult to be a n",
    ),
    (
        "batch_size = 4",
        "batch_size = 4\nparamwise_cfg = dict(custom_keys=dict(head=dict(lr_mlt=10.0)))",
        "paramwise_cfg: custom_keys: head: unknown option 'lr_mlt' (did you mean 'lr_mult'?)",
    ),
    (
        "batch_size = 4",
        "batch_size = 4\nparamwise_cfg = dict(custom_keys=dict(head=10.0))",
        "custom_keys: head: expected a dictionary of lr_mult, decay_mult, got 10.0",
    ),
    (
        OPTIMIZER,
        'dict(type="AdamW", lr=1e-2)\nparamwise_cfg = dict(norm_decay_mult=0.0)',
        "paramwise_cfg: norm_decay_mult needs weight_decay in optimizer",
    ),
]
DATASETS = [
    ('test_cfg = dict(mod="whole")', "test_cfg: unknown key 'mod' (did you mean 'mode'?); known: boundaries, calibra"),
    ('test_cfg = dict(mode="hole")', "test_cfg: Expected mode to be one of whole, slide, got 'hole'."),
    (
        'test_cfg = dict(mode="slide")',
        "a crop_size is required for mode 'slide' and not allowed otherwise; got 'slide' and None",
    ),
    ('test_cfg = dict(mode="slide", crop_size=32)', "Expected crop_size to be None or a sequence of length 2, each"),
    ('test_cfg = dict(mode="slide", crop_size=(8, 8), stride=(9, 8))', "stride must be at most the crop_size (8, 8)"),
    ('test_cfg = dict(mode="whole", scales=0.5)', "Expected scales to be a sequence, each item a number above 0, got"),
    ('test_cfg = dict(mode="whole", scales=())', "scales must be at least one number, got ()"),
    ('test_cfg = dict(mode="whole", flip="no")', "Expected flip to be true or false, got 'no'."),
    ('test_cfg = dict(mode="whole", size_divisor=0)', "Expected size_divisor to be a whole number of at least 1, got"),
    ('test_cfg = dict(mode="whole", size_divisor=1.5)', "Expected size_divisor to be a whole number of at least 1"),
    ('test_cfg = dict(mode="whole", calibrators=["scale"])', "one of scaled, vector, isotonic, got ['scale']"),
    ('test_cfg = dict(mode="whole", boundaries=dict(iou_with=0.02))', "boundaries: unknown key 'iou_with' (did you"),
    ('test_cfg = dict(mode="whole", boundaries=dict(iou_width=2))', "a number of at least 0 and below 1, got 2."),
    ('test_cfg = dict(mode="whole", boundaries=0.02)', "Expected boundaries to be a mapping, got 0.02."),
    ('test_cfg = dict(mode="whole", boundaries=dict(edge_tolerance=0.01))', "edge_tolerance is defined for two class"),
]
MODELS = [
    ("imagenett = dict(file='x.pth')", "unknown name 'imagenett' (did you mean 'imagenet'?); known: channels_last, "),
    ("modell = dict()", "unknown name 'modell' (did you mean 'model'?)"),
    ("normalization = dict(mean=[0.5])", "unknown name 'normalization' (did you mean 'normalisation'?)"),
    ("chanels_last = True", "unknown name 'chanels_last' (did you mean 'channels_last'?)"),
    ("channels_last = 'no'", "Expected channels_last to be true or false, got 'no'."),
    ("imagenet = 'resnet18.pth'", "Expected imagenet to be None or a mapping, got 'resnet18.pth'."),
    ("model = 3", "Expected model to be a mapping, got 3."),
]


def sentence_of(file: Path, text: str) -> str:
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        grid_of("tiny")
    assert "\n" not in str(caught.value)
    assert str(file.name) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(("old", "new", "sentence"), SCHEDULES)
def test_a_wrong_option_of_a_schedule(in_workplace: Path, old: str, new: str, sentence: str) -> None:
    file = in_workplace / "configs/mmseg/schedules/tiny.py"
    text = file.read_text()
    assert old in text
    assert sentence in sentence_of(file, text.replace(old, new))


@pytest.mark.parametrize(("new", "sentence"), DATASETS)
def test_a_wrong_test_cfg(in_workplace: Path, new: str, sentence: str) -> None:
    file = in_workplace / "configs/mmseg/datasets/phantom.py"
    text = file.read_text()
    assert TEST_CFG in text
    assert sentence in sentence_of(file, text.replace(TEST_CFG, new))


@pytest.mark.parametrize(("line", "sentence"), MODELS)
def test_a_wrong_name_in_a_model(in_workplace: Path, line: str, sentence: str) -> None:
    file = in_workplace / "configs/mmseg/models/unet-tiny.py"
    assert sentence in sentence_of(file, f"{file.read_text()}\n{line}\n")


def test_right_options_are_planned(in_workplace: Path) -> None:
    file = in_workplace / "configs/mmseg/schedules/tiny.py"
    more = "\n".join(
        (
            "clip_grad = dict(type='value', clip_value=0.5)",
            "paramwise_cfg = dict(custom_keys=dict(head=dict(lr_mult=10, momentum=0.5)), flat_decay_mult=0.0)",
        )
    )
    text = file.read_text().replace(OPTIMIZER, f"{SGD}, nesterov=True, weight_decay=0)")
    file.write_text(f"{text}\n{more}\n")
    data, model = (in_workplace / f"configs/mmseg/{name}.py" for name in ("datasets/phantom", "models/unet-tiny"))
    data.write_text(data.read_text().replace(TEST_CFG, 'test_cfg = dict(mode="slide", crop_size=[16, 32], scales=[1])'))
    model.write_text(f"{model.read_text()}\n_share = 0.5\nnorm_cfg = dict(type='BN')\nchannels_last = True\n")
    assert grid_of("tiny").cells


def test_a_number_of_iterations_that_the_schedulers_cannot_have(in_workplace: Path) -> None:
    grid, schedule = (in_workplace / name for name in ("configs/grids/tiny.yaml", "configs/mmseg/schedules/tiny.py"))
    schedule.write_text(schedule.read_text().replace("begin=0", "begin=12"))
    assert grid_of("tiny").cells
    grid.write_text(f"{grid.read_text()}iterations: 8\n")
    with pytest.raises(
        ConfigError, match=r"tiny.py: param_scheduler: PolyLR: end must be above begin, got begin=12 and"
    ):
        grid_of("tiny")
    schedule.with_name("base.py").write_text(schedule.read_text())
    schedule.write_text("_base_ = './base.py'\n")
    with pytest.raises(
        ConfigError, match=r"tiny.py assigns no iterations itself: {'iterations': 8} cannot replace them"
    ):
        grid_of("tiny")
