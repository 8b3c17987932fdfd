# What a PS-MT training needs beside its model and data.
_base_ = './default_runtime.py'
custom_hooks = [
    dict(type='TeacherEMAHook'),
    dict(type='DataCheckHook'),
    dict(type='PseudoLabelVisHook', interval=500),
]
val_evaluator = dict(type='TeacherStudentIoUMetric')
test_evaluator = val_evaluator
