# From scratch: 400 iterations are 54 epochs of BU-BIL's 59 training images.
iterations = 400
checkpoint = "last"
batch_size = 8
optimizer = dict(type="AdamW", lr=3e-3, weight_decay=0.01)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, begin=0, end=20, by_epoch=False),
    dict(type="PolyLR", power=0.9, eta_min=0.0, begin=20, end=iterations, by_epoch=False),
]
resources = {"gpus": 0, "cpus": 1, "memory_gb": 3, "minutes": 60}
