# QUBIQ's prostates in MR, the whole gland, preprocessed like its kidneys.
_base_ = ["./qubiq-kidney.py"]
source = "qubiq-prostate-1"
