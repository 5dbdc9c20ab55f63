# QUBIQ's brain tumours in four MR sequences, task 2, seen as its kidneys are.
_base_ = ["./qubiq-kidney.py"]
source = "qubiq-brain-tumour-2"
# Each channel runs from its 0.5th to its 99.5th percentile; no statistics of ImageNet fit four channels.
normalisation = dict(mean=[127.5] * 4, std=[64.0] * 4, bgr_to_rgb=False)
