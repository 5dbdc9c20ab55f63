# BU-BIL: single cells in phase contrast, drawn ten times each. Crops of 76 to 1024 pixels a side, resized to 256.
source = "bubil"
# The gold standard is one expert's drawing with one tool: predictions are scored against the majority of the ten.
reference = "majority"
crop_size = (256, 256)
train_pipeline = [
    dict(type="LoadImage"),
    dict(type="LoadLabel"),
    dict(type="RandomResize", scale=(256, 256), ratio_range=(0.75, 1.5), keep_ratio=False),
    dict(type="RandomCrop", crop_size=crop_size),
    dict(type="RandomFlip", prob=[0.25, 0.25, 0.25], direction=["horizontal", "vertical", "diagonal"]),
    dict(type="PhotoMetricDistortion"),
    dict(type="PackSegInputs"),
]
test_pipeline = [
    dict(type="LoadImage"),
    dict(type="Resize", scale=(256, 256)),
    dict(type="LoadLabel"),
    dict(type="PackSegInputs"),
]
val_split = "val"
test_split = "test"
test_cfg = dict(mode="whole")
