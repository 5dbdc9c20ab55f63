# STARE at half its size, so that a CPU core trains on it in minutes; predictions are scored at the images' own size.
_base_ = ["./stare.py"]
crop_size = (128, 128)
train_pipeline = [
    dict(type="LoadImage"),
    dict(type="LoadLabel"),
    dict(type="Resize", scale=(352, 304)),
    dict(type="RandomCrop", crop_size=crop_size),
    dict(type="RandomFlip", prob=[0.25, 0.25, 0.25], direction=["horizontal", "vertical", "diagonal"]),
    dict(type="PackSegInputs"),
]
test_pipeline = [
    dict(type="LoadImage"),
    dict(type="Resize", scale=(352, 304)),
    dict(type="LoadLabel"),
    dict(type="PackSegInputs"),
]
