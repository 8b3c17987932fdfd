_base_ = './deeplabv3plus_mobilenetv2-d16_camvid-480_1-8_supervised.py'
load_from = ('{{$PSMT_WORK_DIRS:work_dirs}}/deeplabv3plus_mobilenetv2-d16_'
             'camvid-480_1-8_supervised/seed{{$PSMT_SEED:0}}/iter_4000.pth')
optim_wrapper = dict(optimizer=dict(lr=5e-4))
benchmark = dict(method='supervised, continued')
