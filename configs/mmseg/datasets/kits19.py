# KiTS19: tumours of the kidney in CT slices of 512x512, seen as those of LiTS are.
_base_ = ["./lits.py"]
source = "kits19"
