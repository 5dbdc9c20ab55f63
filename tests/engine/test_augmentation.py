"""segloss's own augmentations."""

import numpy as np
from mmseg.registry import TRANSFORMS


def scaled(seed: int, height: int, width: int) -> dict:
    """A gradient and its columns as labels, scaled by RandomScale."""
    np.random.seed(seed)
    labels = np.tile(np.arange(width, dtype=np.uint8), (height, 1))
    image = np.stack([labels] * 3, -1)
    results = dict(img=image, img_shape=image.shape[:2], gt_seg_map=labels, seg_fields=["gt_seg_map"])
    return TRANSFORMS.build(dict(type="RandomScale"))(results)


def test_random_scale_is_relative_to_the_images_own_size():
    factors = []
    for seed in range(200):
        results = scaled(seed, *((40, 60) if seed % 2 else (120, 80)))
        height, width = results["img"].shape[:2]
        factor = width / (60 if seed % 2 else 80)
        assert abs(height - factor * (40 if seed % 2 else 120)) <= 2
        assert results["gt_seg_map"].shape == (height, width)
        # Labels are resampled without blending and stay aligned with their pixels.
        assert np.abs(results["gt_seg_map"].astype(int) - results["img"][..., 0]).max() <= 1 + 1 / factor
        factors.append(factor)
    assert 0.49 < min(factors) < 0.55
    assert 1.9 < max(factors) < 2.02
    assert abs(np.mean(factors) - 1.25) < 0.1


def test_random_scale_follows_the_seed():
    assert scaled(3, 40, 60)["img"].shape == scaled(3, 40, 60)["img"].shape != scaled(4, 40, 60)["img"].shape
