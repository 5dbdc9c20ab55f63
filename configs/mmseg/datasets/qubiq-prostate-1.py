# QUBIQ's prostates in MR, the whole gland, seen as its kidneys are.
_base_ = ["./qubiq-kidney.py"]
source = "qubiq-prostate-1"
