# CWFID: crop and weed in a field at their own 1296x966; 93 % of the pixels are soil.
source = "cwfid"
crop_size = (512, 512)
train_pipeline = [
    dict(type="LoadImage"),
    dict(type="LoadLabel"),
    dict(type="RandomResize", scale=(1296, 966), ratio_range=(0.5, 1.5), keep_ratio=True),
    dict(type="RandomCrop", crop_size=crop_size, cat_max_ratio=0.95),
    dict(type="RandomFlip", prob=[0.25, 0.25, 0.25], direction=["horizontal", "vertical", "diagonal"]),
    dict(type="PhotoMetricDistortion"),
    dict(type="PackSegInputs"),
]
# A U-Net of five stages needs multiples of 16.
test_pipeline = [
    dict(type="LoadImage"),
    dict(type="Resize", scale=(1296, 960)),
    dict(type="LoadLabel"),
    dict(type="PackSegInputs"),
]
no_validation = "its owners publish a training and a test list"
test_split = "test"
test_cfg = dict(mode="whole")
