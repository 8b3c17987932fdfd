# Cityscapes, 1/2: 1,488 labeled and 1,487 unlabeled images.
_base_ = ['../datasets/cityscapes.py', '../schedules/cityscapes.py']
lists = 'semi/1_2'
train_dataloader = dict(
    dataset=dict(
        labeled=dict(ann_file=f'{lists}/labeled.txt'),
        unlabeled=dict(ann_file=f'{lists}/unlabeled.txt'),
    )
)
labeled_pass = -(-1488 // _base_.total_batch)  # iterations
unlabeled_pass = -(-1487 // _base_.total_batch)
recipe = dict(
    _base_.psmt.paper,
    warmup_iters=5 * labeled_pass,
    ramp_iters=12 * unlabeled_pass,
    teachers=dict(_base_.psmt.paper.teachers, alternate_every=unlabeled_pass),
    unsup_weight=3.0,
)
max_iters = 5 * labeled_pass + 550 * unlabeled_pass
train_cfg = dict(max_iters=max_iters)
param_scheduler = [
    dict(type='PolyLR', power=0.9, eta_min=0.0, end=max_iters, by_epoch=False)
]
benchmark = dict(method='PS-MT', data='Cityscapes', protocol='Cityscapes 1/2')
