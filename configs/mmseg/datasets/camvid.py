# CamVid, SegNet's 11-class version at its own 480x360, void 11. A U-Net of five stages needs multiples of 16.
source = "camvid"
crop_size = (352, 352)
train_pipeline = [
    dict(type="LoadImage"),
    dict(type="LoadLabel"),
    dict(type="RandomResize", scale=(480, 360), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type="RandomCrop", crop_size=crop_size, cat_max_ratio=0.75),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PhotoMetricDistortion"),
    dict(type="PackSegInputs"),
]
test_pipeline = [
    dict(type="LoadImage"),
    dict(type="LoadLabel"),
    dict(type="PackSegInputs"),
]
val_split = "val"
test_split = "test"
test_cfg = dict(mode="whole", size_divisor=16)
