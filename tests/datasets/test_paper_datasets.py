"""The large data sets of the articles, each as a miniature in its owner's layout: read, verified, trained on."""

import ast
import importlib.util
import json
import re
from pathlib import Path

import matplotlib.path
import numpy as np
import pytest
from made_miniatures import MINIATURES, VOID, class_map, make_mapillary_vistas, photograph, save

from segloss.datasets import (
    DATASETS,
    PAPER_DATASETS,
    DatasetError,
    deepglobe_building,
    find,
    pascal_context,
    training_lists,
)
from segloss.datasets._lookup import colour_table, ids_of_colours, ids_of_values, value_table
from segloss.metrics import Counts
from tests.conftest import TINY_SCHEDULE, copy_workflow, run

ZOO = Path(importlib.util.find_spec("mmseg").origin).parent
NAMES = sorted(MINIATURES)


def folder_of(name: str, root: Path) -> Path:
    return root / (DATASETS[name].folder or name)


@pytest.fixture
def miniature(request, tmp_path, monkeypatch):
    """Name and folder of a miniature, which counts as the whole data set."""
    name = request.param
    MINIATURES[name].make(tmp_path)
    for split, images in MINIATURES[name].images.items():
        monkeypatch.setitem(MINIATURES[name].counts, split, images)
    return name, folder_of(name, tmp_path)


every_miniature = pytest.mark.parametrize("miniature", NAMES, indirect=True)


def test_every_paper_data_set_has_a_miniature():
    assert {dataset.name for dataset in PAPER_DATASETS} == set(MINIATURES)


@pytest.mark.parametrize("name", NAMES)
def test_labels_are_read_as_the_classes_they_were_made_of(name, tmp_path):
    made = MINIATURES[name].make(tmp_path)
    dataset, folder = DATASETS[name], folder_of(name, tmp_path)
    listed = {}
    for split, images in MINIATURES[name].images.items():
        entries = dataset.read_list(folder, split)
        assert len(entries) == images
        assert split == "train" or not {image for image, _ in entries} & set(listed)
        listed |= dict(entries)
    assert set(listed.values()) <= set(made)
    for image, label in listed.items():
        read = dataset.read_label(folder / label)
        assert read.dtype == np.uint8
        assert read.flags.writeable
        np.testing.assert_array_equal(read, made[label])
        pixels = dataset.read_image(folder / image)
        assert pixels.shape == (*read.shape, 3)
        assert pixels.dtype == np.uint8
    train = dataset.read_list(folder, "train" if "train" in dataset.splits else "test")
    pixels = np.concatenate([made[label].ravel() for _, label in train])
    assert dataset.class_counts(folder, train) == [
        int((pixels == index).sum()) for index in range(len(dataset.classes))
    ]
    assert (pixels == VOID).any() == (dataset.void is not None)


@every_miniature
def test_a_whole_miniature_is_prepared(miniature):
    name, folder = miniature
    assert DATASETS[name].prepare(folder.parent) == folder


@pytest.mark.parametrize("name", NAMES)
def test_a_part_of_a_data_set_is_not_taken_for_the_whole(name, tmp_path):
    MINIATURES[name].make(tmp_path)
    split, count = next(iter(MINIATURES[name].counts.items()))
    sentence = f"{name}: {split} must list {count} images, got {MINIATURES[name].images[split]} in {tmp_path}"
    with pytest.raises(DatasetError, match=re.escape(sentence)):
        DATASETS[name].prepare(tmp_path)


def last_entry(name: str, folder: Path) -> tuple[Path, Path]:
    image, label = DATASETS[name].read_list(folder, DATASETS[name].splits[-1])[-1]
    return folder / image, folder / label


def spoil(path: Path, pixels: np.ndarray) -> None:
    """Other pixels in a label file, in its own format."""
    if path.suffix != ".mat":
        save(path, pixels)
        return
    from scipy.io import savemat

    savemat(path, {"LabelMap": pixels} if "trainval" in path.parts else {"GTcls": {"Segmentation": pixels}})


@every_miniature
def test_a_missing_label_is_named(miniature):
    name, folder = miniature
    label = last_entry(name, folder)[1]
    label.unlink()
    with pytest.raises(DatasetError, match=f"{name}: {re.escape(str(label))} is missing"):
        DATASETS[name].verify(folder)


@every_miniature
def test_a_truncated_image_is_named(miniature):
    name, folder = miniature
    image = last_entry(name, folder)[0]
    image.write_bytes(image.read_bytes()[: image.stat().st_size // 2])
    with pytest.raises(DatasetError, match=f"{re.escape(str(image))} cannot be read"):
        DATASETS[name].verify(folder)


@every_miniature
def test_a_label_of_another_size_or_no_label_is_named(miniature):
    name, folder = miniature
    label = last_entry(name, folder)[1]
    if label.suffix == ".geojson":  # has its tile's size
        label.write_text('{"features": [{"geometry": {"type": "Polygon"}}]}')
        problem = "cannot be read as GeoJSON"
    else:
        grey = np.zeros((8, 16), np.uint8)
        colours = label.name.endswith(("_L.png", "_mask.png"))
        spoil(label, np.stack([grey] * 3, -1) if colours else np.zeros((8, 16), np.uint8))
        problem = r"must be \d+ x \d+ pixels as its image, got 16 x 8"
    with pytest.raises(DatasetError, match=f"{re.escape(str(label))} {problem}"):
        DATASETS[name].verify(folder)


UNKNOWN = {
    "cityscapes": (34, "must hold the values 0..33, got 34"),
    "nighttime-driving": (19, "must hold the values 0..18, 255, got 19"),
    "dark-zurich": (254, "must hold the values 0..18, 255, got 254"),
    "mapillary-vistas": (66, "must hold the values 0..65, got 66"),
    "ade20k": (151, "must hold the values 0..150, got 151"),
    "coco-stuff": (11, r"must hold the values 0..10, 12..24, .*, 255, got 11"),
    "pascal-voc": (21, "must hold the values 0..20, 255, got 21"),
    "pascal-context": (460, "must hold the values 0..459, got 460"),
    "camvid-960": ((1, 2, 3), r"colours must be one of .*\(128, 64, 128\).*, got \(1, 2, 3\)"),
    "camvid-960-trainval": ((1, 2, 3), r"colours must be one of .*, got \(1, 2, 3\)"),
    "deepglobe-land": ((200, 0, 10), r"colours must be one of .*, got \(255, 0, 0\)"),
    "deepglobe-road": ((200, 0, 10), "must be a grey mask"),
}


@pytest.mark.parametrize("miniature", sorted(UNKNOWN), indirect=True)
def test_an_unknown_value_is_named_before_training_and_by_prepare(miniature):
    name, folder = miniature
    image, label = last_entry(name, folder)
    height, width, _ = DATASETS[name].read_image(image).shape
    value, sentence = UNKNOWN[name]
    spoil(label, np.full((height, width, *np.shape(value)), value, np.uint16 if np.max(value) > 255 else np.uint8))
    for check in (lambda: DATASETS[name].verify(folder), lambda: DATASETS[name].class_counts(folder, [("", label)])):
        with pytest.raises(DatasetError, match=f"{re.escape(str(label))}:? {sentence}"):
            check()


@every_miniature
def test_an_empty_split_is_named(miniature):
    name, folder = miniature
    split = DATASETS[name].splits[-1]
    lists = [*folder.rglob(f"{split}.txt")]
    for path in lists:
        path.write_text("")
    if not lists:
        for image, _ in DATASETS[name].read_list(folder, split):
            (folder / image).unlink()
        for path in [*folder.rglob("*_sat.jpg"), *folder.rglob("*.tif")]:
            path.unlink(missing_ok=True)  # of a few images a fold of five may still have one
    with pytest.raises(DatasetError, match=f"{name}: {re.escape(str(folder))} has no images for {split}; "):
        DATASETS[name].read_list(folder, split)
    with pytest.raises(DatasetError, match=f"{name}: .*(has no images for|must list)"):
        DATASETS[name].verify(folder)


def test_evaluation_only_data_sets_have_no_training_list(tmp_path):
    for name in NIGHT:
        MINIATURES[name].make(tmp_path)
        with pytest.raises(DatasetError, match="has no list 'train' since it is for evaluation only: train on"):
            DATASETS[name].read_list(folder_of(name, tmp_path), "train")


def test_older_layout_of_mapillary(tmp_path):
    made = make_mapillary_vistas(tmp_path, "labels")
    entries = DATASETS["mapillary-vistas"].read_list(tmp_path / "mapillary-vistas", "val")
    assert [label for _, label in entries] == sorted(label for label in made if label.startswith("validation/labels"))


def test_voc_takes_its_own_label_where_both_exist_and_never_its_validation_images(tmp_path):
    MINIATURES["pascal-voc"].make(tmp_path)
    train = dict(DATASETS["pascal-voc"].read_list(tmp_path / "VOCdevkit", "train"))
    assert train == {
        "VOC2012/JPEGImages/2007_000001.jpg": "VOC2012/SegmentationClass/2007_000001.png",
        "VOC2012/JPEGImages/2007_000002.jpg": "VOC2012/SegmentationClass/2007_000002.png",
        "VOC2012/JPEGImages/2008_000001.jpg": "benchmark_RELEASE/dataset/cls/2008_000001.mat",
        "VOC2012/JPEGImages/2008_000002.jpg": "benchmark_RELEASE/dataset/cls/2008_000002.mat",
    }


def test_voc_reads_the_form_of_mmsegmentations_converter(tmp_path):
    MINIATURES["pascal-voc"].make(tmp_path)
    folder = tmp_path / "VOCdevkit"
    (folder / "benchmark_RELEASE").rename(tmp_path / "elsewhere")
    with pytest.raises(DatasetError, match=r"pascal-voc: .*benchmark_RELEASE/dataset/train.txt is missing; unpack"):
        DATASETS["pascal-voc"].read_list(folder, "train")
    (folder / "VOC2012/SegmentationClassAug").mkdir()
    (folder / "VOC2012/ImageSets/Segmentation/aug.txt").write_text("2008_000002\n2008_000001\n")
    train = DATASETS["pascal-voc"].read_list(folder, "train")
    assert [label for _, label in train[2:]] == [f"VOC2012/SegmentationClassAug/2008_00000{n}.png" for n in (1, 2)]


def test_a_damaged_matlab_file_is_named(tmp_path):
    MINIATURES["pascal-voc"].make(tmp_path)
    label = tmp_path / "VOCdevkit/benchmark_RELEASE/dataset/cls/2008_000001.mat"
    whole = label.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"no MATLAB"):
        label.write_bytes(content)
        with pytest.raises(DatasetError, match=r"2008_000001.mat cannot be read as GTcls.Segmentation of a"):
            DATASETS["pascal-voc"].read_label(label)


def test_context_reads_the_form_of_mmsegmentations_converter(tmp_path):
    folder, rng = tmp_path / "VOCdevkit", np.random.default_rng(1)
    labels = class_map(rng, 59, (64, 72))
    (folder / "VOC2010/ImageSets/SegmentationContext").mkdir(parents=True)
    (folder / "VOC2010/ImageSets/SegmentationContext/train.txt").write_text("2008_000002\n")
    save(folder / "VOC2010/JPEGImages/2008_000002.jpg", photograph(rng, labels))
    save(folder / "VOC2010/SegmentationClassContext/2008_000002.png", (labels + 1).astype(np.uint8))  # void 255 -> 0
    ((_, label),) = DATASETS["pascal-context"].read_list(folder, "train")
    np.testing.assert_array_equal(DATASETS["pascal-context"].read_label(folder / label), labels)
    assert pascal_context.counts(folder) == {"train": 4996, "val": 5104}


@pytest.mark.parametrize("name", ["cityscapes", "pascal-voc"])
def test_published_lists_of_labelled_images(name, tmp_path):
    """UniMatch's lists name a converter's labels: the owner's are read instead; unlisted images are unlabelled."""
    MINIATURES[name].make(tmp_path)
    dataset, folder = DATASETS[name], folder_of(name, tmp_path)
    with pytest.raises(DatasetError, match=rf"{name}: the list .*1_4/labeled.txt is missing; .*UniMatch's lists"):
        dataset.read_list(folder, "unimatch/1_4/labeled")
    train = dataset.read_list(folder, "train")
    (folder / "unimatch/1_4").mkdir(parents=True)
    line = train[2][0].removeprefix("VOC2012/") + " a/converters_label.png\n"
    (folder / "unimatch/1_4/labeled.txt").write_text(line)
    labelled, unlabelled = training_lists(dataset, folder, {"list": "unimatch/1_4"})
    assert labelled == [train[2]]
    assert unlabelled == [entry[:1] for place, entry in enumerate(train) if place != 2]


def test_folds_of_deepglobe(tmp_path):
    MINIATURES["deepglobe-land"].make(tmp_path)
    MINIATURES["deepglobe-building"].make(tmp_path)
    folds = [find(f"deepglobe-land-fold{fold}") for fold in range(5)]
    land = [fold.read_list(tmp_path / "deepglobe-land", "val")[0][0] for fold in folds]
    assert land == [f"train/{name}_sat.jpg" for name in ("100", "119", "20", "3", "44")]
    first = deepglobe_building.entries(tmp_path / "deepglobe-building", "val", fold=0)
    # Sorted as text, with what follows the number: the articles' order begins with 1000.
    assert [image.rsplit("_", 1)[-1] for image, _ in first] == ["img1000.tif"] * 4


def test_tables_are_those_of_mmsegmentations_converters():
    """COCO-Stuff's ids and PASCAL Context's classes against the numbers in MMSegmentation's wheel."""

    def literal(converter: str, name: str):
        tree = ast.parse((ZOO / f".mim/tools/dataset_converters/{converter}.py").read_text())
        (value,) = (n.value for n in tree.body if isinstance(n, ast.Assign) and n.targets[0].id == name)
        return ast.literal_eval(value.args[0].args[0] if isinstance(value, ast.Call) else value)

    coco = literal("coco_stuff164k", "clsID_to_trID")
    assert {value: int(DATASETS["coco-stuff"].read_label.__globals__["TABLE"][value]) for value in coco} == coco
    assert [0, *pascal_context.CLASSES.values()] == sorted(literal("pascal_context", "_mapping"))


CLASS_LISTS = {
    "cityscapes": ("cityscapes", "CityscapesDataset"),
    "mapillary-vistas": ("mapillary", "MapillaryDataset_v1"),
    "ade20k": ("ade", "ADE20KDataset"),
    "coco-stuff": ("coco_stuff", "COCOStuffDataset"),
    "pascal-voc": ("voc", "PascalVOCDataset"),
    "pascal-context": ("pascal_context", "PascalContextDataset59"),
}


@pytest.mark.parametrize("name", CLASS_LISTS)
def test_classes_are_those_of_mmsegmentation(name):
    file, kind = CLASS_LISTS[name]
    (node,) = (n for n in ast.parse((ZOO / f"datasets/{file}.py").read_text()).body if getattr(n, "name", "") == kind)
    call = next(n.value for n in node.body if isinstance(n, ast.Assign))
    classes = ast.literal_eval(next(keyword.value for keyword in call.keywords if keyword.arg == "classes"))
    assert [ours.lower() for ours in DATASETS[name].classes] == [
        theirs.strip().lower() for theirs in classes if theirs != "Unlabeled"
    ]


def test_look_up_of_values():
    table = value_table({0: 3, 7: 0, 300: 1, 255: VOID})
    assert ids_of_values(np.array([[0, 7, 255]], np.uint8), table, Path("a")).tolist() == [[3, 0, VOID]]
    assert ids_of_values(np.array([[300, 7]], np.uint16), table, Path("a")).tolist() == [[1, 0]]
    assert ids_of_values(np.array([[300, 7]], np.int32), table, Path("a")).tolist() == [[1, 0]]
    assert ids_of_values(np.array([[False]]), table, Path("a")).tolist() == [[3]]
    assert ids_of_values(np.zeros((0, 5), np.uint8), table, Path("a")).shape == (0, 5)
    for wrong in (np.array([[8]], np.uint8), np.array([[8]], np.uint16)):
        with pytest.raises(DatasetError, match=r"a.png must hold the values 0, 7, 255, 300, got 8"):
            ids_of_values(wrong, table, Path("a.png"))
    for wrong in (np.array([[-1]], np.int32), np.array([[70000]], np.int32)):
        with pytest.raises(DatasetError, match=r"a.png must hold values 0..65535, got"):
            ids_of_values(wrong, table, Path("a.png"))
    with pytest.raises(DatasetError, match=r"a.png must be one map of class values, got an array of shape \(2, 2, 3\)"):
        ids_of_values(np.zeros((2, 2, 3), np.uint8), table, Path("a.png"))


def test_look_up_of_colours():
    colours = tuple(((value, 255 - value, value // 2), value % 7) for value in range(256))
    pixels = np.array([colour for colour, _ in colours], np.uint8).reshape(16, 16, 3)
    ids = ids_of_colours(pixels, colour_table(colours), Path("a"))
    assert ids.ravel().tolist() == [index for _, index in colours]
    pixels[3, 4] = (1, 2, 3)
    with pytest.raises(DatasetError, match=r"a.png: colours must be one of \[\(0, 255, 0\), .*, got \(1, 2, 3\)"):
        ids_of_colours(pixels, colour_table(colours), Path("a.png"))


@pytest.mark.parametrize("seed", range(8))
def test_filling_by_centres(seed):
    """Against Matplotlib's test of points in a path."""
    rng = np.random.default_rng(seed)
    angles = np.sort(rng.uniform(0, 2 * np.pi, 7))
    radii = rng.uniform(4, 22, 7)
    ring = np.stack([20 + radii * np.cos(angles), 16 + radii * np.sin(angles)], 1)  # may leave the image
    centres = np.stack(np.meshgrid(np.arange(40) + 0.5, np.arange(32) + 0.5), -1).reshape(-1, 2)
    inside = matplotlib.path.Path(ring).contains_points(centres).reshape(32, 40)
    np.testing.assert_array_equal(deepglobe_building.fill([ring], 32, 40), inside)


def test_bands_of_a_satellite_image_are_scaled_one_by_one(tmp_path):
    MINIATURES["deepglobe-building"].make(tmp_path)
    folder = tmp_path / "deepglobe-building"
    image, _ = DATASETS["deepglobe-building"].read_list(folder, "val")[0]
    pixels = DATASETS["deepglobe-building"].read_image(folder / image)
    assert pixels.min((0, 1)).tolist() == [0, 0, 0]
    assert pixels.max((0, 1)).tolist() == [255, 255, 255]


# Every cell in one process: importing MMSegmentation takes longer than all their iterations. The data sets that are for
# evaluation only evaluate the weights of the cityscapes cell.
TRAIN_ALL = """
import sys
from segloss import cli
for cell in sys.argv[2:]:
    sys.argv = ["segloss", "train", cell, "--data-root", sys.argv[1], "--device", "cpu"]
    try:
        cli.main()
    except (Exception, SystemExit) as error:
        print(f"{cell}: {error!r}", file=sys.stderr)
    sys.argv = ["", sys.argv[4]]
"""


NIGHT = ("nighttime-driving", "dark-zurich")


def cell_of(name: str) -> str:
    """The cell of a miniature."""
    return f"{name}{'@cityscapes' if name in NIGHT else ''}/unet-tiny/tiny/hard/ce-jml/seed0"


OTHER_CELLS = (
    "cityscapes/unet-tiny/tiny/um-mt-4th/paper-ce-jml-ic/seed0",
    "pascal-voc-teacher/unet-tiny/tiny/bls/paper-ce-jml-d/seed0",
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A workplace in which a cell of two iterations was trained and evaluated on every miniature by its own config."""
    workplace = tmp_path_factory.mktemp("workplace")
    copy_workflow(workplace)
    for file in [
        *workplace.glob("configs/mmseg/datasets/_base_/*.py"),
        *workplace.glob("configs/mmseg/datasets/map*.py"),
    ]:
        text = file.read_text().replace("512, 1024", "32, 64").replace("512, 512", "32, 32")
        file.write_text(text.replace("2048, 1024", "64, 32"))
    schedule = TINY_SCHEDULE.replace("iterations = 16", "iterations = 2").replace("batch_size = 4", "batch_size = 2")
    (workplace / "configs/mmseg/schedules/tiny.py").write_text(schedule)
    for name in {DATASETS[name].folder or name: name for name in NAMES}.values():
        if name != "pascal-context":  # shares VOC's folder
            MINIATURES[name].make(workplace / "data")
    MINIATURES["pascal-context"].make(workplace / "data")
    if not (workplace / "data/VOCdevkit/VOC2012").is_dir():
        MINIATURES["pascal-voc"].make(workplace / "data")
    labelled = workplace / "data/cityscapes/unimatch/1_4/labeled.txt"
    labelled.parent.mkdir(parents=True)
    images = [image for image, _ in DATASETS["cityscapes"].read_list(workplace / "data/cityscapes", "train")]
    labelled.write_text("".join(f"{image} a/converters_label.png\n" for image in images[1:3]))
    cells = [*(cell_of(name) for name in sorted(NAMES, key=NIGHT.__contains__)), *OTHER_CELLS]
    done = run("python", "-c", TRAIN_ALL, "data", *cells, cwd=workplace, WANDB_MODE="disabled")
    return workplace, done.stderr


@pytest.mark.slow
@pytest.mark.xdist_group("miniatures")
@pytest.mark.parametrize("name", NAMES)
def test_a_miniature_trains_and_is_evaluated(name, trained):
    workplace, log = trained
    path = workplace / "results" / cell_of(name) / "record.json"
    assert path.is_file(), log[-3000:]
    record = json.loads(path.read_text())
    images = MINIATURES[name].images
    evaluated = list(images)[-1]
    if name not in NIGHT:
        assert record["training"]["iterations"] == 2
        assert record["data"]["labelled_images"] == images["train"]
    assert (record["data"]["split"], record["data"]["images"]) == (evaluated, images[evaluated])
    assert record["evaluation"]["protocol"]["mode"] == "slide"
    assert 0 <= record["metrics"]["mIoU"] < 100
    with np.load(path.parent / "counts.npz") as counts:
        assert len(counts.files) > 0


@pytest.mark.slow
@pytest.mark.xdist_group("miniatures")
def test_published_lists_and_validation_on_evaluated_images_reach_their_records(trained):
    workplace, log = trained
    records = [workplace / "results" / cell / "record.json" for cell in OTHER_CELLS]
    assert all(path.is_file() for path in records), log[-3000:]
    semi, teacher = (json.loads(path.read_text()) for path in records)
    assert semi["data"]["labelled_images"] == 2
    assert semi["validation"] is None
    assert teacher["validation"]["split"] == teacher["data"]["split"] == "val"


@pytest.mark.slow
@pytest.mark.xdist_group("miniatures")
def test_mapillary_is_scored_at_the_labels_full_size(trained):
    workplace, _ = trained
    folder = folder_of("mapillary-vistas", workplace / "data")
    dataset = DATASETS["mapillary-vistas"]
    labels = [dataset.read_label(folder / label) for _, label in dataset.read_list(folder, "val")]
    assert len({label.shape for label in labels}) == 2
    counts = Counts.load(workplace / "results/mapillary-vistas/unet-tiny/tiny/hard/ce-jml/seed0/counts.npz")
    scored = counts.rows["histogram"].sum((1, 2))  # of each image, pixels right or wrong by confidence
    assert scored.tolist() == [int((label != VOID).sum()) for label in labels]
