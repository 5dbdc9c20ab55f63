# For GPU nodes: AdamW, poly decay; decode heads have ten times the backbone's learning rate (arXiv 2310.19252).
iterations = 20000
checkpoint = "last"
batch_size = 16
optimizer = dict(type="AdamW", lr=1e-4, weight_decay=0.01)
paramwise_cfg = dict(custom_keys=dict(head=dict(lr_mult=10.0)))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, begin=0, end=200, by_epoch=False),
    dict(type="PolyLR", power=1.0, eta_min=0.0, begin=200, end=iterations, by_epoch=False),
]
resources = {"gpus": 1, "cpus": 6, "memory_gb": 24, "minutes": 720}
