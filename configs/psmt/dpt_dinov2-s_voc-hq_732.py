_base_ = [
    '../_base_/models/dpt_dinov2-s.py',
    '../_base_/recipes/voc-hq_732_unimatch-v2.py',
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
custom_hooks = _base_.psmt.hooks
val_evaluator = _base_.psmt.evaluator
test_evaluator = val_evaluator
benchmark = dict(published=86.7, source='UniMatch V2, DINOv2-S')
