"""Windows, scales and mirror images against a slow reference in loops; which settings a config may have."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from torch import nn

from segloss.engine.config import evaluation_settings
from segloss.engine.inference import predict, windows
from segloss.grid import ConfigError, Configs
from segloss.grid.protocol import Protocol
from tests.engine.conftest import config_of


@pytest.fixture
def model(in_workplace: Path) -> nn.Module:
    """A real U-Net with random weights whose predictions differ from pixel to pixel."""
    init_default_scope("mmseg")
    torch.manual_seed(0)
    unet = MODELS.build(config_of("phantom/unet-tiny/tiny/hard/ce/seed0").model)
    nn.init.normal_(unet.decode_head.conv_seg.weight, std=2.0)
    return unet.eval()


def softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max(0))
    return exponentials / exponentials.sum(0)


def at_size(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.stack([cv2.resize(channel, size[::-1], interpolation=cv2.INTER_LINEAR) for channel in maps])


def slow_logits(model: nn.Module, image: np.ndarray, divisor: int) -> np.ndarray:
    _, height, width = image.shape
    filled = np.zeros((3, -(-height // divisor) * divisor, -(-width // divisor) * divisor), np.float32)
    filled[:, :height, :width] = image
    logits = model.encode_decode(torch.from_numpy(filled)[None], [dict(img_shape=torch.Size(filled.shape[1:]))])
    return logits[0, :, :height, :width].double().numpy()


def slow_starts(length: int, crop: int, stride: int) -> list[int]:
    starts = [0]
    while starts[-1] + crop < length:
        starts.append(min(starts[-1] + stride, length - crop))
    return starts


def slow_view(model: nn.Module, image: np.ndarray, size: tuple[int, int], protocol: Protocol) -> np.ndarray:
    if protocol.mode == "whole":
        return softmax(at_size(slow_logits(model, image, protocol.size_divisor), size))
    sums, counts = np.zeros((5, *image.shape[1:])), np.zeros(image.shape[1:])
    (crop_height, crop_width), (down, right) = protocol.crop_size, protocol.stride
    for top in slow_starts(image.shape[1], crop_height, down):
        for left in slow_starts(image.shape[2], crop_width, right):
            part = softmax(
                slow_logits(model, image[:, top : top + crop_height, left : left + crop_width], protocol.size_divisor)
            )
            for row in range(part.shape[1]):
                for column in range(part.shape[2]):
                    sums[:, top + row, left + column] += part[:, row, column]
                    counts[top + row, left + column] += 1
    return at_size(sums / counts, size)


def slow_prediction(model: nn.Module, image: np.ndarray, size: tuple[int, int], protocol: Protocol) -> np.ndarray:
    views = []
    for scale in protocol.scales:
        shape = tuple(round(scale * length) for length in image.shape[1:])
        scaled = image if scale == 1 else at_size(image, shape)
        views.append(slow_view(model, scaled, size, protocol))
        if protocol.flip:
            mirrored = np.ascontiguousarray(scaled[:, :, ::-1])
            views.append(slow_view(model, mirrored, size, protocol)[:, :, ::-1])
    return np.mean(views, axis=0)


@pytest.mark.parametrize(
    "protocol",
    [
        Protocol(size_divisor=4),
        Protocol(mode="slide", crop_size=(24, 32)),
        Protocol(mode="slide", crop_size=(24, 32), stride=(24, 7), size_divisor=4),
        Protocol(mode="slide", crop_size=(64, 64), size_divisor=4),
        Protocol(scales=(0.5, 1.0, 1.75), flip=True, size_divisor=4),
        Protocol(mode="slide", crop_size=(24, 32), scales=(1.0, 1.25), flip=True, size_divisor=4),
    ],
    ids=str,
)
@torch.no_grad()
def test_probabilities_are_the_means_of_a_slow_reference(model: nn.Module, protocol: Protocol) -> None:
    image = torch.randn(3, 42, 55, generator=torch.Generator().manual_seed(1))
    for size in ((42, 55), (60, 50)):
        probabilities = predict(model, image[None], size, protocol)
        assert probabilities.dtype == torch.float32
        torch.testing.assert_close(probabilities.sum(1), torch.ones(1, *size), atol=1e-5, rtol=0)
        expected = slow_prediction(model, image.numpy(), size, protocol)
        np.testing.assert_allclose(probabilities[0].double().numpy(), expected, atol=2e-5)


@torch.no_grad()
def test_the_mean_of_probabilities_is_not_the_softmax_of_the_mean_of_logits(model: nn.Module) -> None:
    image = torch.randn(1, 3, 48, 64, generator=torch.Generator().manual_seed(1))
    probabilities = predict(model, image, (48, 64), Protocol(mode="slide", crop_size=(24, 32), stride=(16, 16)))
    model.test_cfg = Config(dict(mode="slide", crop_size=(24, 32), stride=(16, 16)))
    of_mmseg = model.slide_inference(image, [dict(img_shape=(48, 64))]).softmax(1)
    # Where only one window covers a pixel, both agree.
    torch.testing.assert_close(probabilities[..., :16, :16], of_mmseg[..., :16, :16])
    assert (probabilities - of_mmseg).abs().max() > 0.01


def test_windows_cover_every_pixel_and_overlap_by_a_third() -> None:
    assert Protocol(mode="slide", crop_size=(352, 100)).stride == (235, 67)
    assert windows(10, 4, 3) == [slice(0, 4), slice(3, 7), slice(6, 10)]
    assert windows(9, 4, 3) == [slice(0, 4), slice(3, 7), slice(5, 9)]
    assert windows(4, 4, 3) == [slice(0, 4)]
    assert windows(3, 4, 3) == [slice(0, 3)]


@pytest.mark.parametrize(
    ("test_cfg", "sentence"),
    [
        (dict(mode="wohle"), "Expected mode to be one of whole, slide, got 'wohle'"),
        (dict(mode="slide"), "is required for mode 'slide' and not allowed otherwise; got 'slide' and None"),
        (dict(mode="whole", crop_size=(4, 4)), "a crop_size is required for mode 'slide' and not allowed otherwise"),
        (dict(mode="slide", crop_size=(4, 4), stride=(5, 4)), r"stride must be at most the crop_size \(4, 4\)"),
        (dict(scales=(0.5, 0)), "Expected scales to be a sequence, each item a number above 0"),
        (dict(scale=(0.5, 1)), "unknown key 'scale' \\(did you mean 'scales'\\?\\)"),
    ],
)
def test_what_cannot_be_requested_is_one_sentence(test_cfg: dict, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        evaluation_settings(Config(dict(test_cfg=test_cfg)), "somewhere", 5)


def test_the_configs_are_those_of_the_papers(in_workplace: Path) -> None:
    def load(name: str) -> Config:
        return Config.fromfile(Configs().mmengine_file("datasets", name).path)

    many = evaluation_settings(load("camvid-ms"), "camvid-ms", 11)["protocol"]
    assert many["scales"] == (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
    assert (many["mode"], many["flip"], many["size_divisor"]) == ("whole", True, 16)
    assert evaluation_settings(load("camvid"), "camvid", 11)["protocol"]["scales"] == (1.0,)
