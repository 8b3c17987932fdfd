_base_ = './deeplabv3plus_mobilenetv2-d16_camvid-320_1-4.py'
# 4,000 iterations more, with the weight rising again.
load_from = ('{{$PSMT_WORK_DIRS:work_dirs}}/deeplabv3plus_mobilenetv2-d16_'
             'camvid-320_1-4/seed{{$PSMT_SEED:0}}/iter_4000.pth')
benchmark = dict(method='PS-MT, longer')
