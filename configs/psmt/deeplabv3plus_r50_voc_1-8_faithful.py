# The constants of the released code, see docs/fidelity.md.
_base_ = './deeplabv3plus_r50_voc_1-8.py'
model = dict(
    tvat=dict(type='TVAT', start='feature', xi=1e-6, norm_eps=1e-8),
    tvat_with='teachers',
    teacher_norm='batch',
    data_preprocessor=dict(mask_padding=False))
benchmark = dict(method='PS-MT, released constants')
