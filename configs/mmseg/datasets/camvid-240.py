# CamVid trained at 240x320, for short fine-tuning on CPU cores; predictions are scored at the full 360x480.
_base_ = ["./camvid.py"]
crop_size = (240, 320)
train_pipeline = [
    dict(type="LoadImage"),
    dict(type="LoadLabel"),
    dict(type="Resize", scale=(320, 240)),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackSegInputs"),
]
test_pipeline = [
    dict(type="LoadImage"),
    dict(type="Resize", scale=(320, 240)),
    dict(type="LoadLabel"),
    dict(type="PackSegInputs"),
]
