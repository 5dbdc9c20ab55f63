# CamVid resized to 96x128, so that two CPU cores train on it in minutes; predictions are scored at the full 360x480.
_base_ = ["./camvid.py"]
crop_size = (96, 128)
train_pipeline = [
    dict(type="LoadImage"),
    dict(type="LoadLabel"),
    dict(type="Resize", scale=(128, 96)),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackSegInputs"),
]
test_pipeline = [
    dict(type="LoadImage"),
    dict(type="Resize", scale=(128, 96)),
    dict(type="LoadLabel"),
    dict(type="PackSegInputs"),
]
