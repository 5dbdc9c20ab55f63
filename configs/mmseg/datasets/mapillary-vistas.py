# Mapillary Vistas, 65 classes, images of many sizes up to 22 million pixels. The articles scale and evaluate images at
# their own size. Here they are resized to fit 2048x1024, as in MMSegmentation, and predictions are scored at the
# labels' full size: probabilities of 65 classes at 22 million pixels are 5.7 GB, and a few such arrays exist at once.
_base_ = ["./_base_/crops-512x1024.py"]
source = "mapillary-vistas"
train_pipeline = [
    dict(type="LoadImage"),
    dict(type="LoadLabel"),
    dict(type="RandomResize", scale=(2048, 1024), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type="RandomCrop", crop_size=(512, 1024)),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackSegInputs"),
]
test_pipeline = [
    dict(type="LoadImage"),
    dict(type="Resize", scale=(2048, 1024), keep_ratio=True),
    dict(type="LoadLabel"),
    dict(type="PackSegInputs"),
]
no_validation = "the labels of its test images are not public, so the articles evaluate on the validation images"
test_split = "val"
resources = {"gpus": 1, "cpus": 16, "memory_gb": 96, "minutes": 5760}
