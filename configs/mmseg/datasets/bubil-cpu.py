# BU-BIL seen at 64x64, so that a CPU core trains on it in a minute; predictions are scored at the crops' own size.
_base_ = ["./bubil.py"]
crop_size = (64, 64)
train_pipeline = [
    dict(type="LoadImage"),
    dict(type="LoadLabel"),
    dict(type="Resize", scale=(64, 64)),
    dict(type="RandomFlip", prob=[0.25, 0.25, 0.25], direction=["horizontal", "vertical", "diagonal"]),
    dict(type="PackSegInputs"),
]
test_pipeline = [
    dict(type="LoadImage"),
    dict(type="Resize", scale=(64, 64)),
    dict(type="LoadLabel"),
    dict(type="PackSegInputs"),
]
