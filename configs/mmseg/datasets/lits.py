# LiTS: tumours of the liver in CT slices of 512x512, as in the articles on the JDT losses; fold 0 of five.
source = "lits"
crop_size = (384, 384)
train_pipeline = [
    dict(type="LoadImage"),
    dict(type="LoadLabel"),
    dict(type="RandomResize", scale=(512, 512), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type="RandomCrop", crop_size=crop_size),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackSegInputs"),
]
test_pipeline = [
    dict(type="LoadImage"),
    dict(type="LoadLabel"),
    dict(type="PackSegInputs"),
]
no_validation = "the articles split the cases into training and test cases only"
test_split = "test"
test_cfg = dict(mode="whole", size_divisor=32)
