_base_ = './deeplabv3plus_mobilenetv2-d16_camvid-480_1-8.py'
load_from = None
model = {
    '_delete_': True,
    **_base_.model.segmentor, 'data_preprocessor': {
        **_base_.model.segmentor.data_preprocessor,
        **_base_.model.data_preprocessor
    }
}
train_dataloader = dict(
    sampler=dict(_delete_=True, type='InfiniteSampler'),
    dataset={
        '_delete_': True,
        **_base_.train_dataloader.dataset.labeled, 'pipeline':
        [*_base_.geometry, *_base_.psmt.labeled_views.labeled]
    })
optim_wrapper = dict(optimizer=dict(lr=1e-3))
custom_hooks = [_base_.speed]
benchmark = dict(method='supervised, from ImageNet')
