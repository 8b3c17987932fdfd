_base_ = './deeplabv3plus_mobilenetv2_camvid-240_1-8.py'
model = dict(
    num_teachers=1,
    tvat=None,
    mix=[],
    consistency=dict(_delete_=True, type='SoftmaxMSELoss'))
benchmark = dict(method='mean teacher, MSE')
