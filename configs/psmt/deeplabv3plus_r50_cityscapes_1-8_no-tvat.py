_base_ = './deeplabv3plus_r50_cityscapes_1-8.py'
model = dict(tvat=None)
benchmark = dict(method='PS-MT, no T-VAT', published=None)
