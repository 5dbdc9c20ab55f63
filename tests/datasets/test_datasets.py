"""Properties that every data set must have, and how data sets are found."""

import gzip
from pathlib import Path

import pytest
from real_data import at_hand

from segloss.datasets import DATASETS, DatasetError, locate, read_list


@pytest.fixture(params=sorted(DATASETS))
def dataset(request):
    return DATASETS[request.param]


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    return tmp_path_factory.mktemp("generated")


@pytest.fixture
def folder(dataset, generated):
    """The data set's folder, generated or below the data root; skips where neither is possible."""
    if dataset.generated:
        return dataset.prepare(generated)
    return at_hand(dataset.name)


def test_descriptions(dataset):
    assert DATASETS[dataset.name] is dataset
    assert len(set(dataset.classes)) == len(dataset.classes) == len(dataset.palette) == len(set(dataset.palette))
    assert all(0 <= channel <= 255 for colour in dataset.palette for channel in colour)
    assert dataset.void is None or dataset.void >= len(dataset.classes)


@pytest.mark.slow
def test_the_folder_is_the_data_set(dataset, folder):
    dataset.verify(folder)


def test_every_split_can_be_read(dataset, folder):
    for split in dataset.splits:
        for image_path, *maps in dataset.read_list(folder, split)[:3]:
            image = dataset.read_image(folder / image_path)
            assert image.ndim == 3
            assert image.flags.writeable
            for relative in filter(None, maps):
                labels = dataset.read_label(folder / relative)
                assert labels.shape == image.shape[:2]
                assert labels.flags.writeable
                allowed = set(range(len(dataset.classes))) | {dataset.void}
                assert set(labels.ravel().tolist()) <= allowed


def content_of(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def test_fingerprint_sees_labels_and_lists(dataset, folder, tmp_path):
    """On a copy of three entries of each split, through links so that nothing large is copied."""
    assert dataset.fingerprint(folder) == dataset.fingerprint(folder)
    copy = tmp_path / "copy"
    entries = {split: dataset.read_list(folder, split)[:3] for split in dataset.splits}
    for relative in {path for split in entries.values() for entry in split for path in entry if path}:
        (copy / relative).parent.mkdir(parents=True, exist_ok=True)
        (copy / relative).symlink_to(folder / relative)

    def fingerprint():
        for split, lines in entries.items():
            (copy / f"{split}.txt").write_text("".join(" ".join(w or "-" for w in line) + "\n" for line in lines))
        return type(dataset)(**{**vars(dataset), "read_list": read_list}).fingerprint(copy)

    before = fingerprint()
    assert fingerprint() == before
    last_map = next(path for path in reversed(entries[dataset.splits[-1]][2]) if path)
    content = content_of(folder / last_map)
    pack = gzip.compress if last_map.endswith(".gz") else bytes
    (copy / last_map).unlink()
    (copy / last_map).write_bytes(pack(content[:-1] + bytes([content[-1] ^ 1])))
    assert fingerprint() != before
    (copy / last_map).write_bytes(pack(content))
    assert fingerprint() == before
    entries[dataset.splits[0]].reverse()
    assert fingerprint() != before


def test_unknown_name_lists_the_known_ones(tmp_path):
    with pytest.raises(
        DatasetError, match=r"unknown data set 'camvit' \(did you mean 'camvid'\?\); known: .*camvid.*phantom"
    ):
        locate("camvit", tmp_path)


def test_a_missing_folder_is_a_sentence_with_place_and_instructions(dataset, tmp_path, monkeypatch):
    """Generated data sets lie in data/, whatever the data root."""
    monkeypatch.chdir(tmp_path)
    folder = Path("data" if dataset.generated else "elsewhere") / (dataset.folder or dataset.name)
    with pytest.raises(DatasetError) as caught:
        locate(dataset.name, Path("elsewhere"))
    assert str(caught.value) == f"data set {dataset.name} is not at {folder}; {dataset.instructions}"
    folder.mkdir(parents=True)
    assert locate(dataset.name, "elsewhere") == folder


def test_prepare_without_the_data_shows_the_instructions(dataset, tmp_path):
    """For data sets that cannot be downloaded without registration or by a program."""
    if dataset.generated or dataset.folder == "camvid" or dataset.name in ("camvid", "lits", "kits19"):
        pytest.skip("made or fetched by prepare")
    with pytest.raises(DatasetError) as caught:
        dataset.prepare(tmp_path)
    folder = tmp_path / (dataset.folder or dataset.name)
    assert str(caught.value) == f"data set {folder.name} is not at {folder}; {dataset.instructions}"


def test_unknown_split_lists_the_known_ones(dataset, folder):
    with pytest.raises(DatasetError, match=r"no list .*trian.*train|trian.txt is missing"):
        dataset.read_list(folder, "trian")


def test_splits_share_no_image(dataset, folder):
    images = [entry[0] for split in dataset.splits for entry in dataset.read_list(folder, split)]
    assert len(images) == len(set(images)) > 0


def test_lists(tmp_path):
    (tmp_path / "train.txt").write_text("a.png  b.png - c.png\n\nd.png e.png f.png -")
    assert read_list(str(tmp_path), "train") == [("a.png", "b.png", None, "c.png"), ("d.png", "e.png", "f.png", None)]
    with pytest.raises(DatasetError, match=r"there is no list .*trian.txt; lists there: train$"):
        read_list(tmp_path, "trian")
