# The embedded data set: generated images whose class probabilities are known at every pixel.
source = "phantom"
crop_size = (32, 32)
train_pipeline = [
    dict(type="LoadImage"),
    dict(type="LoadLabel"),
    dict(type="RandomCrop", crop_size=crop_size),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackSegInputs"),
]
test_pipeline = [
    dict(type="LoadImage"),
    dict(type="LoadLabel"),
    dict(type="PackSegInputs"),
]
val_split = "val"
test_split = "test"
test_cfg = dict(mode="whole")
