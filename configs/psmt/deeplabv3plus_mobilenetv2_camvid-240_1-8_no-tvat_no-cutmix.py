_base_ = './deeplabv3plus_mobilenetv2_camvid-240_1-8.py'
model = dict(tvat=None, mix=[])
benchmark = dict(method='PS-MT, no T-VAT, no CutMix')
