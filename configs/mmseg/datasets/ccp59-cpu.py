# Clothing Co-Parsing with the owners' 59 classes, resized as in ccp12-cpu; four classes occur in no image.
_base_ = ["./ccp12-cpu.py"]
source = "ccp59"
