_base_ = [
    '../_base_/models/dpt_dinov2-b.py',
    '../_base_/recipes/cityscapes_1-8_unimatch-v2.py',
    '../_base_/default_runtime.py',
]
custom_imports = dict(
    imports=['mmpretrain.models', 'mmseg_psmt'], allow_failed_imports=False
)
model = dict(
    _delete_=True,
    **_base_.psmt.model,
    **_base_.recipe,
    segmentor=_base_.model,
    data_preprocessor=dict(size=_base_.crop_size),
)
model['segmentor']['backbone'].update(img_size=798)
model['segmentor']['decode_head'].update(
    num_classes=19,
    sampler=dict(type='OHEMPixelSampler', thresh=0.7, min_kept=200000),
)
model['segmentor']['test_cfg'] = dict(
    mode='slide', crop_size=(798, 798), stride=(532, 532)
)
custom_hooks = _base_.psmt.hooks
val_evaluator = _base_.psmt.evaluator
test_evaluator = val_evaluator
benchmark = dict(published=84.3, source='UniMatch V2, DINOv2-B')
