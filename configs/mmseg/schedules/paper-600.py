# The articles on the JDT losses for a few dozen images (arXiv 2303.16296): 600 iterations.
# AdamW 6e-5, linear decay after a warm-up of 1 %, decoder x 10, norms and biases without weight decay, batch size 8.
_base_ = ["./paper-40k.py"]
iterations = 600
param_scheduler = [
    dict(type="LinearLR", start_factor=1 / 60, begin=0, end=6, by_epoch=False),
    dict(type="PolyLR", power=1.0, eta_min=0.0, begin=6, end=iterations, by_epoch=False),
]
