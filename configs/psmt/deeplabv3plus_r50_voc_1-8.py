_base_ = [
    '../_base_/models/deeplabv3plus_r50-d16.py', '../_base_/datasets/voc.py',
    '../_base_/schedules/voc.py', '../_base_/psmt_runtime.py'
]
model = dict(
    _delete_=True,
    type='PSMT',
    segmentor=_base_.model,
    data_preprocessor=dict(size=_base_.crop_size),
    teachers_init='independent',
    warmup_iters=207,  # 5 passes over 1,323 labelled images at 32
    assist_topk=7,
    unsup_weight=1.5,
    ramp_iters=3480,  # 12 passes over 9,259 unlabelled images at 32
    predict_with=['teachers', 'student'])
# 207 of warm-up, then 80 passes over 9,259 unlabelled images at 32
train_cfg = dict(max_iters=23407)
param_scheduler = [
    dict(type='PolyLR', power=0.9, eta_min=0., end=23407, by_epoch=False)
]
