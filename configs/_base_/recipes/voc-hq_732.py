# High-quality labels: 732 labeled and 9,850 unlabeled images.
_base_ = ['../datasets/voc.py', '../schedules/voc.py']
lists = 'ImageSets/Segmentation/semi/hq/732'
train_dataloader = dict(
    dataset=dict(
        labeled=dict(ann_file=f'{lists}/labeled.txt'),
        unlabeled=dict(ann_file=f'{lists}/unlabeled.txt'),
    )
)
labeled_pass = -(-732 // _base_.total_batch)  # iterations
unlabeled_pass = -(-9850 // _base_.total_batch)
recipe = dict(
    _base_.psmt.paper,
    warmup_iters=5 * labeled_pass,
    ramp_iters=12 * unlabeled_pass,
    teachers=dict(_base_.psmt.paper.teachers, alternate_every=unlabeled_pass),
    unsup_weight=0.6,
)
max_iters = 5 * labeled_pass + 80 * unlabeled_pass
train_cfg = dict(max_iters=max_iters)
param_scheduler = [
    dict(type='PolyLR', power=0.9, eta_min=0.0, end=max_iters, by_epoch=False)
]
benchmark = dict(
    method='PS-MT', data='VOC 2012 aug', protocol='high quality 732'
)
