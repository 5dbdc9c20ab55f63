"""Image and label files of every kind: read exactly as meant, or refused in one sentence that names the file."""

import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from segloss.datasets import DATASETS, DatasetError, read_list
from segloss.datasets._read import read_foreground, read_image, read_label

RGB = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
IDS = np.array([[0, 1, 2], [2, 1, 255]], np.uint8)


def saved(folder, pixels, name="a.png", **options):
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(folder / name, **options)
    return folder / name


def oriented(folder, pixels, orientation, name="a.jpg"):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(folder, pixels, name, exif=exif)


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_orientation_that_the_size_shows_leaves_pixels_as_stored(tmp_path, orientation):
    upright = saved(tmp_path, np.zeros((20, 30, 3), np.uint8), "b.jpg")
    assert read_image(oriented(tmp_path, np.zeros((20, 30, 3), np.uint8), orientation)).shape == (20, 30, 3)
    assert read_image(upright).shape == (20, 30, 3)


@pytest.mark.parametrize(("orientation", "size"), [(2, (20, 30)), (3, (20, 30)), (4, (20, 30)), (6, (20, 20))])
def test_orientation_that_no_size_shows_is_refused(tmp_path, orientation, size):
    path = oriented(tmp_path, np.zeros((*size, 3), np.uint8), orientation)
    with pytest.raises(DatasetError, match=rf"a.jpg has EXIF orientation {orientation}: its label may fit"):
        read_image(path)
    assert read_image(path, stored=True).shape == (*size, 3)


def test_label_with_an_orientation_is_refused(tmp_path):
    with pytest.raises(DatasetError, match=r"a.png is a label with an EXIF orientation"):
        read_label(oriented(tmp_path, IDS, 6, "a.png"))


def test_label_of_another_size_than_its_image_is_refused(tmp_path):
    """Sizes are compared as stored, even where the image's orientation explains the difference."""
    dataset = replace(DATASETS["phantom"], read_image=read_image)
    image = dataset.load_image(oriented(tmp_path, np.zeros((20, 30, 3), np.uint8), 6))
    turned = saved(tmp_path, np.zeros((30, 20), np.uint8))
    with pytest.raises(DatasetError, match=r"a.png must be 30 x 20 pixels as its image, got 20 x 30; it is transposed"):
        dataset.load_label(turned, image.shape[:2])
    with pytest.raises(DatasetError, match=r"a.png must be 30 x 20 pixels as its image, got 3 x 2$"):
        dataset.load_label(saved(tmp_path, np.zeros((2, 3), np.uint8)), image.shape[:2])


def test_sixteen_bit_images_are_scaled_and_never_white(tmp_path):
    values = np.array([[0, 257, 1000], [4095, 32768, 65535]], np.uint16)
    for name in ("a.png", "a.tif"):
        grey = read_image(saved(tmp_path, values, name))
        assert grey[..., 0].tolist() == [[0, 1, 4], [16, 128, 255]]
        assert (grey[..., 0] == grey[..., 2]).all()
        assert read_image(tmp_path / name, window=(0, 4095))[..., 0].tolist() == [[0, 16, 62], [255, 255, 255]]
    (tmp_path / "a.tif").write_bytes(big_endian_tiff(values))
    assert read_image(tmp_path / "a.tif")[..., 1].tolist() == [[0, 1, 4], [16, 128, 255]]


def big_endian_tiff(values: np.ndarray) -> bytes:
    """An uncompressed 16-bit grey TIFF in Motorola byte order, from the format's description."""
    height, width = values.shape
    tags = [(256, width), (257, height), (258, 16), (259, 1), (262, 1), (273, 8 + 2 + 9 * 12 + 4), (277, 1)]
    tags += [(278, height), (279, 2 * values.size)]
    head = b"MM" + (42).to_bytes(2, "big") + (8).to_bytes(4, "big") + len(tags).to_bytes(2, "big")
    for tag, value in tags:
        long = tag in (273, 279)
        head += tag.to_bytes(2, "big") + (4 if long else 3).to_bytes(2, "big") + (1).to_bytes(4, "big")
        head += value.to_bytes(4, "big") if long else value.to_bytes(2, "big") + bytes(2)
    return head + bytes(4) + values.astype(">u2").tobytes()


@pytest.mark.parametrize(("dtype", "name"), [(np.int32, "int32"), (np.float32, "float32")])
def test_wider_images_need_a_window(tmp_path, dtype, name):
    path = saved(tmp_path, np.array([[-100, 0], [100, 300]], dtype), "a.tif")
    with pytest.raises(DatasetError, match=rf"a.tif holds {name} values from -100 to 300: a window, the values"):
        read_image(path)
    assert read_image(path, window=(-100, 100))[..., 0].tolist() == [[0, 128], [255, 255]]


def test_a_float_image_with_nan(tmp_path):
    path = saved(tmp_path, np.array([[np.nan, 0.5]], np.float32), "a.tif")
    with pytest.raises(DatasetError, match=r"a.tif holds NaN"):
        read_image(path, window=(0, 1))


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK", "YCbCr"])
def test_every_mode_of_eight_bits_becomes_rgb(tmp_path, mode):
    image = Image.fromarray(RGB * 14).convert(mode)
    path = saved(tmp_path, image, "a.tif" if mode in ("CMYK", "YCbCr") else "a.png")
    assert np.array_equal(read_image(path), np.array(image.convert("RGB")))
    assert read_image(path, channels=1).shape == (2, 3, 1)


def test_four_channels(tmp_path):
    pixels = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    assert np.array_equal(read_image(saved(tmp_path, pixels), channels=4), pixels)
    with pytest.raises(DatasetError, match=r"a.png must have 4 channels, got 3"):
        read_image(saved(tmp_path, RGB), channels=4)


def test_labels_of_all_widths_and_palettes(tmp_path):
    palette = Image.fromarray(IDS).convert("P")
    palette.putpalette([255, 0, 0] * 256)  # colours of a palette are no ids
    palette.putdata(IDS.ravel().tolist())
    wide = IDS.astype(np.uint16)
    wide[IDS == 255] = 65535
    for pixels in (IDS, palette, wide, np.repeat(IDS[..., None], 3, -1), np.dstack([*[IDS] * 3, IDS * 0 + 9])):
        assert read_label(saved(tmp_path, pixels)).tolist() == IDS.tolist()
    assert read_label(saved(tmp_path, wide.astype(np.int32), "a.tif")).tolist() == IDS.tolist()
    assert read_label(saved(tmp_path, Image.fromarray(IDS > 0))).tolist() == [[0, 1, 1], [1, 1, 1]]


def test_labels_that_are_no_ids(tmp_path):
    colours = np.repeat(IDS[..., None], 3, -1)
    colours[1, 1] = (7, 8, 9)
    for pixels, name, sentence in (
        (colours, "a.png", r"a.png must hold one class id per pixel, got colours, such as (7, 8, 9)"),
        (np.array([[300, 1]], np.uint16), "a.png", "a.png must hold class ids up to 255, or 65535 for void, got 300"),
        (np.array([[0.5, 1]], np.float32), "a.tif", "a.tif must hold whole numbers from 0 to 65535, got 0.5"),
        (np.array([[-1, 1]], np.int32), "a.tif", "a.tif must hold whole numbers from 0 to 65535, got -1"),
    ):
        with pytest.raises(DatasetError, match=re.escape(sentence)):
            read_label(saved(tmp_path, pixels, name))


def test_masks_of_one_and_of_sixteen_bits(tmp_path):
    mask = np.array([[True, False], [False, True]])
    for pixels in (Image.fromarray(mask), mask * np.uint8(255), mask * np.uint16(65535)):
        assert read_foreground(saved(tmp_path, pixels)).tolist() == [[1, 0], [0, 1]]
    with pytest.raises(DatasetError, match="must hold 0 and 65535 only, got 255"):
        read_foreground(saved(tmp_path, mask * np.uint16(255)))


@pytest.mark.parametrize("reader", [read_image, read_label, read_foreground])
def test_damaged_and_missing_files_are_named(tmp_path, reader):
    path = saved(tmp_path, np.random.default_rng(0).integers(256, size=(64, 64)).astype(np.uint8))
    whole = path.read_bytes()
    for content in (b"", b"no picture", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(DatasetError, match=r"a.png cannot be read \("):
            reader(path)
    path.unlink()
    with pytest.raises(DatasetError, match=r"a.png cannot be read \(.*No such file"):
        reader(path)


def test_a_file_of_several_pictures(tmp_path):
    frames = [Image.fromarray(RGB[..., 0]), Image.fromarray(RGB[..., 1])]
    path = saved(tmp_path, frames[0], "a.tif", save_all=True, append_images=frames[1:])
    with pytest.raises(DatasetError, match=r"a.tif must hold one picture, got 2"):
        read_image(path)


def test_values_outside_of_the_classes(tmp_path):
    dataset = DATASETS["phantom"]
    with pytest.raises(DatasetError, match=r"a.png must hold classes 0..4 and void 255, got 7"):
        dataset.load_label(saved(tmp_path, np.array([[0, 255, 9, 7]], np.uint8)))
    with pytest.raises(DatasetError, match=r"a.png must hold classes 0..4 and void 255, got 9"):
        dataset.class_counts(tmp_path, [("b.png", saved(tmp_path, np.array([[0, 9]], np.uint8)).name)])


def test_a_reader_that_returns_something_else(tmp_path):
    path = saved(tmp_path, IDS)
    wrong = replace(DATASETS["phantom"], read_label=lambda path: IDS.astype(int), read_image=lambda path: IDS)
    with pytest.raises(DatasetError, match=r"a.png must be read as uint8 \(height, width\), got int64 \(2, 3\)"):
        wrong.load_label(path)
    with pytest.raises(DatasetError, match=r"a.png must be read as uint8 \(height, width, 3\), got uint8 \(2, 3\)"):
        wrong.load_image(path)


def test_file_names_with_blanks(tmp_path):
    lines = ("my image.png\tmy label.png\t-", '"my image.png" "my label.png" -', "a.png b.png -")
    (tmp_path / "train.txt").write_text("\n".join(lines))
    assert read_list(tmp_path, "train") == [("my image.png", "my label.png", None)] * 2 + [("a.png", "b.png", None)]
    (tmp_path / "train.txt").write_text('"my image.png my label.png\n')
    with pytest.raises(DatasetError, match=r"train.txt has a line that cannot be read \(No closing quotation\): .my"):
        read_list(tmp_path, "train")
    (tmp_path / "train.txt").write_bytes("\xfcber.png b.png".encode("latin-1"))
    with pytest.raises(DatasetError, match=r"train.txt cannot be read \(.*utf-8"):
        read_list(tmp_path, "train")
