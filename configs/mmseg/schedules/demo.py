# Some seconds on one CPU core.
iterations = 240
batch_size = 8
optimizer = dict(type="AdamW", lr=4e-3, weight_decay=0.01)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, begin=0, end=12, by_epoch=False),
    dict(type="PolyLR", power=0.9, eta_min=0.0, begin=12, end=iterations, by_epoch=False),
]
