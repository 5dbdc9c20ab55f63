# QUBIQ's growing brains in MR, preprocessed like its kidneys.
_base_ = ["./qubiq-kidney.py"]
source = "qubiq-brain-growth"
