_base_ = './deeplabv3plus_r50_cityscapes_1-8.py'
model = dict(
    num_teachers=1,
    teachers_init='copy',
    tvat=None,
    mix=[],
    consistency=dict(_delete_=True, type='SoftmaxMSELoss'))
benchmark = dict(method='mean teacher, MSE', published=None)
