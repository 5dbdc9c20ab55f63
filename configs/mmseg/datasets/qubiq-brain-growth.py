# QUBIQ's growing brains in MR, seen as its kidneys are.
_base_ = ["./qubiq-kidney.py"]
source = "qubiq-brain-growth"
