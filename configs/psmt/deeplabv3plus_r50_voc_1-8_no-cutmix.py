_base_ = './deeplabv3plus_r50_voc_1-8.py'
model = dict(mix=[])
benchmark = dict(method='PS-MT, no CutMix', published=None)
