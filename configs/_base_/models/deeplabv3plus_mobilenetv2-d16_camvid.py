# At output stride 16. The losses of classes are weighted as in
# deeplabv3plus_mobilenetv2_camvid-240_1-8_class-weight.py, for which the mmseg
# of requirements.txt is needed: that of 1.2.2 fails at ignored pixels.
_base_ = './deeplabv3plus_mobilenetv2.py'
model = dict(
    backbone=dict(
        strides=(1, 2, 2, 2, 1, 1, 1), dilations=(1, 1, 1, 1, 1, 2, 2)),
    decode_head=dict(
        loss_decode=dict(
            avg_non_ignore=False,
            class_weight=[
                0.5, 0.45, 1.98, 0.37, 1.0, 0.66, 1.94, 2.7, 0.84, 2.88, 4.1
            ])))
