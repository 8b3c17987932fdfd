_base_ = './deeplabv3plus_r50_cityscapes_1-8.py'
model = dict(num_teachers=1)
benchmark = dict(method='PS-MT, one teacher', published=None)
