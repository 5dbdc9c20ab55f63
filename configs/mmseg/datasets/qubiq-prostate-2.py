# QUBIQ's prostates in MR, the inner part, preprocessed like its kidneys.
_base_ = ["./qubiq-kidney.py"]
source = "qubiq-prostate-2"
