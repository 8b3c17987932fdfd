_base_ = './deeplabv3plus_mobilenetv2-d16_camvid-320_1-8_no-tvat.py'
# Boxes and weight of the released code for Cityscapes.
model = dict(
    mix=[dict(type='TeacherGuidedCutMix', num_boxes=3, area=(0.25, 0.5))],
    unsup_weight=3.0)
benchmark = dict(method='PS-MT, no T-VAT, three boxes, weight 3')
