# BU-BIL resized to 128x128, so that a CPU core trains on it in minutes; predictions are scored at the crops' own size.
_base_ = ["./bubil.py"]
crop_size = (128, 128)
train_pipeline = [
    dict(type="LoadImage"),
    dict(type="LoadLabel"),
    dict(type="Resize", scale=(128, 128)),
    dict(type="RandomFlip", prob=[0.25, 0.25, 0.25], direction=["horizontal", "vertical", "diagonal"]),
    dict(type="PackSegInputs"),
]
test_pipeline = [
    dict(type="LoadImage"),
    dict(type="Resize", scale=(128, 128)),
    dict(type="LoadLabel"),
    dict(type="PackSegInputs"),
]
