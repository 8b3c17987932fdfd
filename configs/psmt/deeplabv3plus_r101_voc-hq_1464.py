_base_ = './deeplabv3plus_r50_voc-hq_1464.py'
model = dict(
    segmentor=dict(
        pretrained='open-mmlab://resnet101_v1c', backbone=dict(depth=101)
    )
)
benchmark = dict(published=80.01)
