# 207 iterations of warm-up, then 80 passes over 9,259 unlabelled images at 32.
_base_ = './voc.py'
recipe = dict(
    warmup_iters=207,  # 5 passes over 1,323 labelled images at 32
    unsup_weight=1.5,
    ramp_iters=3480)  # 12 passes over 9,259 unlabelled images at 32
train_cfg = dict(max_iters=23407)
param_scheduler = [
    dict(type='PolyLR', power=0.9, eta_min=0., end=23407, by_epoch=False)
]
