_base_ = './deeplabv3plus_mobilenetv2-d16_camvid-320_1-8.py'
model = dict(tvat=None)
benchmark = dict(method='PS-MT, no T-VAT')
