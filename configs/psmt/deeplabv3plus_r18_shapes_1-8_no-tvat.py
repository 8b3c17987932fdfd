_base_ = './deeplabv3plus_r18_shapes_1-8.py'
model = dict(tvat=None)
benchmark = dict(method='PS-MT, no T-VAT')
