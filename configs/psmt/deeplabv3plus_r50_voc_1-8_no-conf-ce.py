_base_ = './deeplabv3plus_r50_voc_1-8.py'
model = dict(consistency=dict(type='SoftmaxMSELoss'))
benchmark = dict(method='PS-MT, MSE for Conf-CE', published=None)
