_base_ = [
    '../_base_/models/deeplabv3plus_r50-d16.py', '../_base_/datasets/voc.py',
    '../_base_/schedules/sgd_poly.py', '../_base_/psmt_runtime.py'
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
train_cfg = dict(max_iters=23407, val_interval=1000)
default_hooks = dict(checkpoint=dict(interval=1000))
param_scheduler = [
    dict(type='PolyLR', power=0.9, eta_min=0., end=23407, by_epoch=False)
]
# No weight decay on norm and bias; 1e-2 is for 4 GPUs with 8 images each.
optim_wrapper = dict(
    paramwise_cfg=dict(norm_decay_mult=0., bias_decay_mult=0.))
auto_scale_lr = dict(enable=False, base_batch_size=32)
