_base_ = './deeplabv3plus_mobilenetv2-d16_camvid-320_1-8.py'
model = dict(
    num_teachers=1,
    tvat=None,
    mix=[],
    consistency=dict(_delete_=True, type='SoftmaxMSELoss'))
benchmark = dict(method='mean teacher, MSE')
