"""Data sets without Python: a YAML file, written by hand or made from a folder; every fault is one sentence."""

import json
import re
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segloss.datasets import DATASETS, DatasetError, add_described, locate, training_config
from segloss.datasets._described import SCHEMA, described, read_description
from segloss.datasets._new_dataset import new_dataset

COLOURS = np.array([(0, 0, 0), (255, 0, 0), (0, 200, 0)], np.uint8)
YAML = """
folder: pictures
images: "photos/*.jpg"
labels: "masks/*_mask.png"
classes: {ground: [0, 0, 0], petal: "#ff0000", leaf: {any: [[0, 200, 0], [0, 0, 9]]}}
split: {shares: {train: 0.5, val: 0.2, test: 0.3}, seed: 1}
"""
ENCODINGS = {
    "colours": (lambda ids: Image.fromarray(COLOURS[ids]), "{a: [0, 0, 0], b: [255, 0, 0], c: '#00c800'}"),
    "colours in a palette": (lambda ids: coloured_palette(ids), "{a: [0, 0, 0], b: [255, 0, 0], c: [0, 200, 0]}"),
    "palette": (lambda ids: coloured_palette(ids), "[a, b, c]"),
    "ids": (lambda ids: Image.fromarray(ids), "[a, b, c]"),
    "other ids": (lambda ids: Image.fromarray(np.uint8([7, 30, 200])[ids]), "{a: 7, b: 30, c: 200}"),
    "16 bit": (lambda ids: Image.fromarray(np.uint16([0, 1000, 60000])[ids]), "{a: 0, b: 1000, c: 60000}"),
    "grey in RGB": (lambda ids: Image.fromarray(np.repeat(ids[..., None], 3, -1)), "[a, b, c]"),
}


def coloured_palette(ids: np.ndarray) -> Image.Image:
    image = Image.fromarray(ids).convert("P")
    image.putpalette(COLOURS.ravel().tolist())
    image.putdata(ids.ravel().tolist())
    return image


def make(folder: Path, encode=ENCODINGS["colours"][0], names=None, image="photos/{}.jpg", label="masks/{}_mask.png"):
    """Ten photographs of 30 x 40 pixels with masks; returns the class ids of each."""
    random = np.random.default_rng(0)
    ids = {}
    for name in names or [f"DSC {n:02d} (copy)" for n in range(10)]:
        ids[name] = random.integers(3, size=(3, 4)).repeat(10, 0).repeat(10, 1).astype(np.uint8)
        for path, picture in (
            (image.format(name), Image.fromarray(random.integers(256, size=(30, 40, 3)).astype(np.uint8))),
            (label.format(name), encode(ids[name])),
        ):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            picture.save(folder / path)
    return ids


def written(folder: Path, text: str = YAML) -> Path:
    (folder / "flowers.yaml").write_text(text)
    return folder / "flowers.yaml"


def changed(folder: Path, old: str, new: str) -> Path:
    assert old in YAML
    return written(folder, YAML.replace(old, new))


def names_of(dataset) -> dict[str, list[str]]:
    return {s: [Path(entry[0]).stem for entry in dataset.read_list(dataset.location, s)] for s in dataset.splits}


@pytest.mark.parametrize("kind", ENCODINGS)
def test_every_kind_of_mask(tmp_path, kind):
    encode, classes = ENCODINGS[kind]
    ids = make(tmp_path / "pictures", encode)
    text = re.sub(r"classes: .*", f"classes: {classes}", YAML)
    dataset = described(written(tmp_path, text))
    assert dataset.prepare(Path("unused")) == tmp_path / "pictures"
    for split in dataset.splits:
        for image, label in dataset.read_list(dataset.location, split):
            assert dataset.load_image(dataset.location / image).shape == (30, 40, 3)
            expected = ids[Path(image).stem]
            assert np.array_equal(dataset.load_label(dataset.location / label), expected)


@pytest.mark.parametrize("bits", ["one bit", "0 and 255"])
@pytest.mark.parametrize("classes", ["{a: 0, b: 255}", "{a: 0, b: 1}"])
def test_masks_of_two_classes(tmp_path, bits, classes):
    if (bits, classes) == ("0 and 255", "{a: 0, b: 1}"):
        pytest.skip("255 is another value there")
    encode = {
        "one bit": lambda ids: Image.fromarray(ids == 1),
        "0 and 255": lambda ids: Image.fromarray((ids == 1) * np.uint8(255)),
    }[bits]
    ids = make(tmp_path / "pictures", encode)
    dataset = described(written(tmp_path, re.sub(r"classes: .*", f"classes: {classes}", YAML)))
    image, label = dataset.read_list(dataset.location, "train")[0]
    assert np.array_equal(dataset.load_label(dataset.location / label), ids[Path(image).stem] == 1)


def test_void_and_several_values_of_a_class(tmp_path):
    ids = make(tmp_path / "pictures")
    text = YAML.replace('petal: "#ff0000"', "petal: [0, 0, 8]") + 'void: "#ff0000"\n'
    dataset = described(written(tmp_path, text))
    image, label = dataset.read_list(dataset.location, "test")[0]
    expected = np.where(ids[Path(image).stem] == 1, 255, ids[Path(image).stem])
    assert np.array_equal(dataset.load_label(dataset.location / label), expected)
    assert dataset.void == 255


def test_shares_are_a_partition_that_follows_from_the_seed(tmp_path):
    make(tmp_path / "pictures")
    first = names_of(described(written(tmp_path)))
    assert {split: len(names) for split, names in first.items()} == {"train": 5, "val": 2, "test": 3}
    assert len({name for names in first.values() for name in names}) == 10
    assert first == names_of(described(written(tmp_path)))
    assert first != names_of(described(changed(tmp_path, "seed: 1", "seed: 2")))


def test_split_by_lists(tmp_path):
    folder = tmp_path / "pictures"
    make(folder)
    (folder / "train.txt").write_text("photos/DSC 00 (copy).jpg\tmasks/DSC 01 (copy)_mask.png\n")
    (folder / "test.txt").write_text('"DSC 02 (copy)"\n"photos/DSC 03 (copy).jpg"\n')
    text = re.sub(r"split: .*", "split: {lists: {train: train.txt, test: test.txt}}", YAML)
    dataset = described(written(tmp_path, text))
    assert dataset.splits == ("train", "test")
    assert dataset.read_list(folder, "train") == [("photos/DSC 00 (copy).jpg", "masks/DSC 01 (copy)_mask.png")]
    assert [label for _, label in dataset.read_list(folder, "test")] == [
        f"masks/DSC 0{n} (copy)_mask.png" for n in (2, 3)
    ]
    dataset.verify(folder)


def test_split_by_folders(tmp_path):
    for split, names in (("training", "abc"), ("testing", "de")):
        make(tmp_path / "pictures" / split, names=names)
    text = YAML.replace('"photos', '"{split}/photos').replace('"masks', '"{split}/masks')
    text = re.sub(r"split: {s.*", "split: {folders: {train: training, test: testing}}", text)
    assert names_of(described(written(tmp_path, text))) == {"train": list("abc"), "test": list("de")}


def test_images_of_equal_name_are_distinguished_by_their_folders_in_a_list_of_one_too(tmp_path):
    make(tmp_path / "pictures", image="{}/image.jpg", label="{}/label.png")
    text = YAML.replace("photos/*.jpg", "*/image.jpg").replace("masks/*_mask.png", "*/label.png")
    dataset = described(written(tmp_path, text))
    folder = tmp_path / "pictures"
    held_out = dataset.read_list(folder, "test")[:1]  # as a fold that holds out one case
    assert dataset.image_names(folder, held_out) == [held_out[0][0]]


def test_images_of_several_endings(tmp_path):
    folder = tmp_path / "pictures"
    make(folder, names=list("abcdef"))
    make(folder, names=["g", "h", "x y"], image="photos/{}.JPEG", label="masks/{}_mask.tif")
    make(folder, names=["i"], image="photos/{}.png")
    text = YAML.replace("*.jpg", "*.{jpg,JPEG,png}").replace("*_mask.png", "*_mask.{png,tif}")
    dataset = described(written(tmp_path, text))
    dataset.verify(folder)
    assert sorted(chain(*names_of(dataset).values())) == [*"abcdefghi", "x y"]
    for split, lines in (("train", 'a\nphotos/h.JPEG\n"x y"'), ("test", "i")):
        (folder / f"{split}.txt").write_text(lines)
    listed = described(
        written(tmp_path, re.sub("split: .*", "split: {lists: {train: train.txt, test: test.txt}}", text))
    )
    listed.verify(folder)
    assert names_of(listed) == {"train": ["a", "h", "x y"], "test": ["i"]}
    make(folder, names=["a"], image="photos/{}.png")
    with pytest.raises(DatasetError, match=r"photos/a.jpg and photos/a.png would have the same label"):
        described(written(tmp_path, text)).verify(folder)


def test_jpeg_labels_are_refused_with_the_remedy(tmp_path):
    folder = tmp_path / "pictures"
    make(folder, label="masks/{}_mask.jpg")
    with pytest.raises(DatasetError, match=r"colours must be .* \(JPEG changes colours: export the labels as PNG\)"):
        described(changed(tmp_path, "_mask.png", "_mask.jpg")).verify(folder)
    with pytest.raises(DatasetError, match=r"has no images with label files .*since JPEG changes values and colours"):
        new_dataset(folder, tmp_path / "x.yaml")


def test_raters(tmp_path):
    folder = tmp_path / "pictures"
    make(folder)
    make(folder, label="ann/{}.png")
    (folder / "ann" / "DSC 04 (copy).png").unlink()
    text = YAML + 'raters: ["ann/*.png", "masks/*_mask.png"]\nreference: majority\n'
    dataset = described(written(tmp_path, text))
    assert dataset.raters == 2
    entries = [entry for split in dataset.splits for entry in dataset.read_list(folder, split)]
    assert sum(entry[2] is None for entry in entries) == 1
    assert all(entry[3] == entry[1] for entry in entries)
    dataset.verify(folder)
    assert "reference = 'majority'" in training_config(tmp_path / "flowers.yaml")


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("images:", "image:", r"flowers.yaml: .*'image' was unexpected|'images' is a required property"),
        ('"photos/*.jpg"', '"photos/*/*.jpg"', r"images: must be a path with one \*.*got photos/\*/\*.jpg"),
        ('"photos/*.jpg"', "[a/*.jpg, a/*.png]", r"images: must be a path with one \*.*photos/\*.{jpg,png}, got \['a/"),
        ("petal: ", "petal: 3, bud: ", "classes and void must be all ids or all colours, got both"),
        ('"#ff0000"', "[0, 0, 0]", r"the value \(0, 0, 0\) belongs to two classes"),
        ("train: 0.5", "train: 0.4", "shares must add up to 1, got 0.9"),
        ("folder: pictures", "folder: pictures\nfolder: x", "flowers.yaml cannot be read .*duplicate key 'folder'"),
        ("folder: pictures", "folder: [", "flowers.yaml cannot be read"),
        ("folder: pictures", "window: [9, 1]", "window: the first value must be below the second, got 9 and 1"),
        ("folder: pictures", "reference: majority", "reference: majority needs raters"),
        ('labels: "masks/*_mask.png"', "", "labels: a pattern is missing"),
        ("photos/", "{split}/", "split by folders and {split} in images, labels and raters require each other"),
        ("ground:", "no:", "classes: names must be text; put numbers and yes/no in quotes"),
    ],
)
def test_wrong_descriptions_are_sentences(tmp_path, old, new, sentence):
    with pytest.raises(DatasetError, match=sentence):
        described(changed(tmp_path, old, new))


def test_files_that_do_not_fit_the_description_are_named(tmp_path):
    folder = tmp_path / "pictures"
    make(folder)
    mask = folder / "masks" / "DSC 03 (copy)_mask.png"
    good = mask.read_bytes()
    dataset = described(written(tmp_path))

    def verify(sentence: str) -> None:
        with pytest.raises(DatasetError, match=sentence):
            dataset.prepare(tmp_path)

    mask.unlink()
    verify(r"photos/DSC 03 \(copy\).jpg has no label: there is no .*masks/DSC 03 \(copy\)_mask.png")
    Image.fromarray(np.zeros((40, 30, 3), np.uint8)).save(mask)
    verify(r"DSC 03 \(copy\)_mask.png must be 40 x 30 pixels as its image, got 30 x 40; it is transposed")
    Image.fromarray(np.full((30, 40, 3), 77, np.uint8)).save(mask)
    verify(
        r"DSC 03 \(copy\)_mask.png: colours must be one of .*got \(77, 77, 77\) at row 0, column 0; .*: 1200 of 1200"
    )
    mask.write_bytes(good[:60])
    verify(r"DSC 03 \(copy\)_mask.png cannot be read")
    mask.write_bytes(good)
    dataset.prepare(tmp_path)
    for text, sentence in (
        (YAML.replace("photos", "nowhere"), r"no file matches .*pictures/nowhere/\*.jpg"),
        (
            YAML.replace("0.5", "0.69").replace("0.2", "0.01"),
            r"a share of 0.01 of 10 images for val is none: .*or leave val out",
        ),
        (re.sub(r"split: .*", "split: {lists: {train: a.txt, test: b.txt}}", YAML), r"pictures/a.txt cannot be read"),
    ):
        with pytest.raises(DatasetError, match=sentence):
            described(written(tmp_path, text)).verify(folder)
    with pytest.raises(DatasetError, match=r"flowers.yaml: there is no folder .*elsewhere"):
        described(changed(tmp_path, "folder: pictures", "folder: elsewhere")).prepare(tmp_path)
    with pytest.raises(DatasetError, match=r"there is no description of a data set at nothing.yaml"):
        described(Path("nothing.yaml"))


def test_a_described_data_set_is_found_like_all_others(tmp_path, monkeypatch):
    monkeypatch.setattr("segloss.datasets.DATASETS", dict(DATASETS))
    make(tmp_path / "pictures")
    add_described(written(tmp_path))
    assert locate("flowers", Path("unused")) == tmp_path / "pictures"
    add_described(changed(tmp_path, "seed: 1", "seed: 2"))
    (tmp_path / "camvid.yaml").write_text(YAML)
    with pytest.raises(DatasetError, match=r"camvid.yaml needs another name: camvid is a data set of segloss"):
        add_described(tmp_path / "camvid.yaml")


def test_the_schema_is_one():
    import jsonschema

    jsonschema.Draft202012Validator.check_schema(json.loads(SCHEMA.read_text()))


def test_training_config(tmp_path):
    make(tmp_path / "pictures")
    plain = training_config(written(tmp_path))
    assert 'dict(type="RandomCrop", crop_size=crop_size)' in plain
    assert "Resize" not in plain
    assert 'val_split = "val"' in plain
    text = YAML.replace("val: 0.2, ", "").replace("0.3", "0.5") + "resize: [64, 96]\nflip: all\ncolour_jitter: true\n"
    resized = training_config(written(tmp_path, text))
    assert resized.count('dict(type="Resize", scale=(96, 64))') == 2
    assert "RandomCrop" not in resized
    assert '"diagonal"' in resized
    assert "PhotoMetricDistortion" in resized
    assert "no_validation" in resized
    for line in ("folder", str(tmp_path)):  # a cell is the same wherever its data are
        assert f"'{line}'" not in resized


LAYOUTS = {
    "two folders": dict(image="photos/{}.jpg", label="masks/{}.png"),
    "one folder": dict(image="{}_sat.jpg", label="{}_mask.png"),
    "one ending": dict(image="all/{}.png", label="all/{}_L.png"),
    "deep": dict(image="a/b/img/{}.png", label="a/b/gt/{}_gtFine_labels.png"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", ["colours", "palette", "16 bit"])
def test_a_new_data_set_is_what_the_folder_holds(tmp_path, layout, kind):
    folder = tmp_path / "my pictures"
    ids = make(folder, ENCODINGS[kind][0], **LAYOUTS[layout])
    (folder / "readme.txt").write_text("notes")
    file, sheet = new_dataset(folder, tmp_path / "mine.yaml")
    dataset = described(file)
    dataset.verify(folder)
    names = [name for split in names_of(dataset).values() for name in split]
    assert len(names) == len(ids) == 10
    assert len(dataset.classes) == 3
    with Image.open(sheet) as image:
        assert image.size == (720, 1200)
    training_config(file)
    with pytest.raises(DatasetError, match=r"mine.yaml exists; remove it"):
        new_dataset(folder, file)


def test_a_new_data_set_with_folders_for_its_splits(tmp_path):
    for split, names in (("Training", "abcdef"), ("valid", "gh"), ("Test", "ij")):
        make(tmp_path / "images" / split, names=names, image="{}.jpg", label="nothing/{}.png")
        (tmp_path / "images" / split / "nothing").rename(tmp_path / split)
        (tmp_path / "labels").mkdir(exist_ok=True)
        (tmp_path / split).rename(tmp_path / "labels" / split)
    file, _ = new_dataset(tmp_path, tmp_path / "x.yaml")
    assert names_of(described(file)) == {"train": list("abcdef"), "val": list("gh"), "test": list("ij")}


def test_a_new_data_set_guesses_void_and_names_what_is_missing(tmp_path):
    make(tmp_path, lambda ids: Image.fromarray(np.where(ids == 2, 255, ids).astype(np.uint8)), label="masks/{}.png")
    Image.fromarray(np.zeros((30, 40, 3), np.uint8)).save(tmp_path / "photos" / "z.jpg")
    with pytest.raises(DatasetError, match=r"photos/z.jpg has no label masks/\*.png: .*train.txt"):
        new_dataset(tmp_path, tmp_path / "x.yaml")
    (tmp_path / "photos" / "z.jpg").unlink()
    file, _ = new_dataset(tmp_path, tmp_path / "x.yaml")
    assert described(file).void == 255
    assert described(file).classes == ("background", "foreground")


def test_a_new_data_set_of_few_images_as_people_have_them(tmp_path):
    """Several file endings, names whose last word is no kind of file, too few images for a tenth of validation."""
    make(tmp_path, names=["cat close-up", "wheel_left", "b"])
    make(tmp_path, names=["c", "IMG 1"], image="photos/{}.PNG")
    make(tmp_path, names=["d"], image="elsewhere/{}.png")
    file, _ = new_dataset(tmp_path, tmp_path / "x.yaml")
    dataset = described(file)
    dataset.verify(tmp_path)
    assert sorted(chain(*names_of(dataset).values())) == ["IMG 1", "b", "c", "cat close-up", "wheel_left"]
    assert dataset.splits == ("train", "test")
    text = file.read_text()
    assert "# 5 images with labels" in text
    assert "# labels without an image: 1, among them that of d" in text
    assert "# void: [255, 0, 0]  # the value of unlabelled pixels" in text


def test_a_folder_without_labels_is_a_sentence(tmp_path):
    make(tmp_path, lambda ids: Image.fromarray(np.random.default_rng(0).integers(256, size=(30, 40)).astype(np.uint8)))
    with pytest.raises(DatasetError, match=r"has no images with label files .*masks/\*_mask.png, photos/\*.jpg"):
        new_dataset(tmp_path, tmp_path / "x.yaml")
    with pytest.raises(DatasetError, match=r"there is no folder .*nowhere"):
        new_dataset(tmp_path / "nowhere")


def test_the_readmes_example_is_a_description(tmp_path):
    """Each line of it, those commented out too, one split at a time."""
    text = (Path(__file__).parents[2] / "configs" / "datasets" / "README.md").read_text()
    example = next(block for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if "images:" in block)
    whole = read_description(written(tmp_path, example))
    assert set(whole) == set(json.loads(SCHEMA.read_text())["properties"]) - {"terms", "crop_size", "window"}
    lines = [line for line in example.splitlines() if not line.startswith(("split", "resize"))]
    optional = [line.removeprefix("# ") for line in lines if line.startswith("# ")]
    assert [line.split(":")[0] for line in optional] == ["split", "split", "crop_size", "window"]
    plain = "\n".join(line for line in lines if not line.startswith("# "))
    rest = "\n".join(re.sub(r"\]\s{2,}.*", "]", line) for line in optional[2:])
    for split in optional[:2]:
        rule = re.sub(r"\}\}\s{2,}.*", "}}", split)
        patterns = plain.replace(" photos", ' "{split}/photos').replace(".jpg", '.jpg"') if "folders" in rule else plain
        patterns = (
            patterns.replace("masks/*_mask.png", '"{split}/*.png"')
            .replace("ann/", '"{split}/')
            .replace("*.png, bob/*.png", 'a*.png", "{split}/b*.png"')
            if "folders" in rule
            else patterns
        )
        read_description(written(tmp_path, f"{patterns}\n{rule}\n{rest}\n"))
