# Clothing Co-Parsing in 12 groups, resized to 288x192; predictions are scored at the photographs' size, about 413x275.
source = "ccp12"
crop_size = (288, 192)
train_pipeline = [
    dict(type="LoadImage"),
    dict(type="LoadLabel"),
    dict(type="Resize", scale=(192, 288)),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackSegInputs"),
]
test_pipeline = [
    dict(type="LoadImage"),
    dict(type="Resize", scale=(192, 288)),
    dict(type="LoadLabel"),
    dict(type="PackSegInputs"),
]
val_split = "val"
test_split = "test"
test_cfg = dict(mode="whole")
