# Clothing Co-Parsing with the owners' 59 classes, seen as the 12 groups are; four classes occur in no image.
_base_ = ["./ccp12-cpu.py"]
source = "ccp59"
