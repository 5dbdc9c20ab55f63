# For GPU nodes: a few dozen images, from scratch.
iterations = 4000
checkpoint = "last"
batch_size = 16
optimizer = dict(type="AdamW", lr=1e-3, weight_decay=0.01)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, begin=0, end=100, by_epoch=False),
    dict(type="PolyLR", power=0.9, eta_min=0.0, begin=100, end=iterations, by_epoch=False),
]
resources = {"gpus": 1, "cpus": 6, "memory_gb": 24, "minutes": 180}
