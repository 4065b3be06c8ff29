"""The functional RetinaNet: backbones, pyramid, heads and pretrained weights."""
