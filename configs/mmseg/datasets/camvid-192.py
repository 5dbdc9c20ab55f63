# CamVid trained at 192x256, for short fine-tuning on CPU cores; predictions are scored at the full 360x480.
_base_ = ["./camvid.py"]
crop_size = (192, 256)
train_pipeline = [
    dict(type="LoadImage"),
    dict(type="LoadLabel"),
    dict(type="Resize", scale=(256, 192)),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackSegInputs"),
]
test_pipeline = [
    dict(type="LoadImage"),
    dict(type="Resize", scale=(256, 192)),
    dict(type="LoadLabel"),
    dict(type="PackSegInputs"),
]
