# QUBIQ's prostates in MR, the inner part, seen as its kidneys are.
_base_ = ["./qubiq-kidney.py"]
source = "qubiq-prostate-2"
