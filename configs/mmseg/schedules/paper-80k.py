# The articles on the JDT losses (arXiv 2302.05666, 2310.19252): 80 000 iterations.
# AdamW 6e-5, linear decay after a warm-up of 1 %, decoder x 10, norms and biases without weight decay, batch size 8.
iterations = 80000
checkpoint = "last"
batch_size = 8
optimizer = dict(type="AdamW", lr=6e-5, weight_decay=0.01)
paramwise_cfg = dict(custom_keys=dict(head=dict(lr_mult=10.0)), norm_decay_mult=0.0, bias_decay_mult=0.0)
param_scheduler = [
    dict(type="LinearLR", start_factor=1 / 60, begin=0, end=800, by_epoch=False),
    dict(type="PolyLR", power=1.0, eta_min=0.0, begin=800, end=iterations, by_epoch=False),
]
resources = {"gpus": 1, "cpus": 8, "memory_gb": 48, "minutes": 5760}
