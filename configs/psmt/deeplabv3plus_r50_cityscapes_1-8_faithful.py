# The constants of the released code, see docs/fidelity.md.
_base_ = './deeplabv3plus_r50_cityscapes_1-8.py'
model = dict(
    tvat=dict(type='TVAT', start='feature', xi=1e-6, norm_eps=1e-8),
    tvat_with='teachers',
    teacher_norm='batch',
    data_preprocessor=dict(mask_padding=False),
    segmentor=dict(test_cfg=dict(crop_size=(800, 800), stride=(534, 534))),
    predict_with=['teacher1', 'student'])
benchmark = dict(method='PS-MT, released constants')
