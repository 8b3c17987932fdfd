_base_ = './deeplabv3plus_r50-d16.py'
model = dict(
    decode_head=dict(num_classes=19),
    test_cfg=dict(mode='slide', crop_size=(720, 720), stride=(480, 480)),
)  # two thirds
