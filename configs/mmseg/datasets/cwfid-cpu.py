# CWFID at half its size, trained on crops; predictions are scored at the images' own size.
_base_ = ["./cwfid.py"]
crop_size = (256, 256)
train_pipeline = [
    dict(type="LoadImage"),
    dict(type="LoadLabel"),
    dict(type="Resize", scale=(648, 483)),
    dict(type="RandomCrop", crop_size=crop_size, cat_max_ratio=0.95),
    dict(type="RandomFlip", prob=[0.25, 0.25, 0.25], direction=["horizontal", "vertical", "diagonal"]),
    dict(type="PackSegInputs"),
]
test_pipeline = [
    dict(type="LoadImage"),
    dict(type="Resize", scale=(640, 480)),
    dict(type="LoadLabel"),
    dict(type="PackSegInputs"),
]
