# Crops and augmentation of the articles on the JDT losses (arXiv 2302.05666, 2310.19252): scale .5 to 2 of an image's
# own size, 512x1024 crops, flips, no photometric distortion; evaluation at the image's own size.
crop_size = (512, 1024)
train_pipeline = [
    dict(type="LoadImage"),
    dict(type="LoadLabel"),
    dict(type="RandomScale"),
    dict(type="RandomCrop", crop_size=crop_size),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackSegInputs"),
]
test_pipeline = [
    dict(type="LoadImage"),
    dict(type="LoadLabel"),
    dict(type="PackSegInputs"),
]
# Sliding windows of the crop's size with a stride of two thirds; a network of five stages needs multiples of 32.
test_cfg = dict(mode="slide", crop_size=crop_size, size_divisor=32)
resources = {"gpus": 1, "cpus": 8, "memory_gb": 48, "minutes": 2880}
