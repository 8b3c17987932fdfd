_base_ = './deeplabv3plus_r50_voc_1-4.py'
model = dict(
    segmentor=dict(
        pretrained='open-mmlab://resnet101_v1c', backbone=dict(depth=101)
    )
)
benchmark = dict(published=78.72)
