# Crops of 800; cross-entropy, while the authors name OHEM for these rows.
_base_ = './deeplabv3plus_r50_cityscapes_1-4.py'
crop_size = (800, 800)
geometry = [
    *_base_.geometry[:3],
    dict(type='RandomCrop', crop_size=crop_size),
    *_base_.geometry[4:],
]
train_dataloader = dict(
    dataset=dict(
        labeled=dict(pipeline=[*geometry, _base_.psmt.labeled_views]),
        unlabeled=dict(pipeline=[*geometry, _base_.psmt.unlabeled_views]),
    )
)
model = dict(
    data_preprocessor=dict(size=crop_size),
    segmentor=dict(test_cfg=dict(crop_size=crop_size, stride=(533, 533))),
)
benchmark = dict(method='PS-MT, crops of 800', published=78.38)
