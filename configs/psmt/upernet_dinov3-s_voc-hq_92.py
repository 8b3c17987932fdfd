# Needs timm. Crops of 512: its patches have 16 pixels.
_base_ = [
    '../_base_/models/upernet_dinov3-s.py',
    '../_base_/recipes/voc-hq_92_unimatch-v2.py',
    '../_base_/default_runtime.py',
]
crop_size = (512, 512)
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
    _delete_=True,
    **_base_.psmt.model,
    **_base_.recipe,
    segmentor=_base_.model,
    data_preprocessor=dict(size=crop_size),
)
custom_hooks = _base_.psmt.hooks
val_evaluator = _base_.psmt.evaluator
test_evaluator = val_evaluator
