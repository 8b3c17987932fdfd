_base_ = './deeplabv3plus_mobilenetv2_camvid-240_1-8_class-weight_continued.py'
model = dict(one_pass=True)
benchmark = dict(method='PS-MT, from supervised, one pass')
