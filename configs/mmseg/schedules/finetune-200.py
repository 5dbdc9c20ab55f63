# Fine-tuning of a pretrained network on CPU cores: AdamW at 3e-4, heads at 3e-3, no weight decay of norms and biases.
iterations = 200
checkpoint = "last"
batch_size = 8
optimizer = dict(type="AdamW", lr=3e-4, weight_decay=0.01)
paramwise_cfg = dict(norm_decay_mult=0.0, bias_decay_mult=0.0, custom_keys=dict(head=dict(lr_mult=10.0)))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, begin=0, end=10, by_epoch=False),
    dict(type="PolyLR", power=1.0, eta_min=0.0, begin=10, end=iterations, by_epoch=False),
]
resources = {"gpus": 0, "cpus": 1, "memory_gb": 4, "minutes": 120}
