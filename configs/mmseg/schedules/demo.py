# A dozen seconds on one CPU core; the learning rate is high because the U-Net is small and uses batch normalisation.
iterations = 400
checkpoint = "last"
batch_size = 8
optimizer = dict(type="AdamW", lr=1e-2, weight_decay=0.01)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, begin=0, end=15, by_epoch=False),
    dict(type="PolyLR", power=0.9, eta_min=0.0, begin=15, end=iterations, by_epoch=False),
]
resources = {"gpus": 0, "cpus": 1, "memory_gb": 3, "minutes": 20}
