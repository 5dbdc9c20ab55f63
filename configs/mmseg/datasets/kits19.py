# KiTS19: tumours of the kidney in CT slices of 512x512, preprocessed like those of LiTS.
_base_ = ["./lits.py"]
source = "kits19"
