# CamVid seen at 192x256, to fine-tune on CPU cores; predictions are scored at the full 360x480.
_base_ = ["./camvid.py"]
crop_size = (192, 256)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    dict(type="Resize", scale=(256, 192)),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackSegInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(256, 192)),
    dict(type="LoadAnnotations"),
    dict(type="PackSegInputs"),
]
