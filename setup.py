from setuptools import find_packages, setup

setup(
    name='mmseg_psmt',
    version='0.1.0',
    description='PS-MT, semi-supervised semantic segmentation, for '
    'MMSegmentation',
    packages=find_packages(include=['mmseg_psmt', 'mmseg_psmt.*']),
    python_requires='>=3.10',
    install_requires=[
        'torch>=2.5', 'numpy>=2', 'opencv-python>=4.6', 'tensorboard'
    ],
    # One of them; each would overwrite the other.
    extras_require={
        'onedl': [
            'onedl-mmengine>=0.10.12', 'onedl-mmcv>=2.3.6',
            'onedl-mmsegmentation>=1.4.2', 'onedl-mmpretrain>=1.3.6'
        ],
        'openmmlab': [
            'mmengine>=0.10.7', 'mmcv>=2.0.0rc4,<2.2', 'mmsegmentation>=1.2.2',
            'mmpretrain>=1.2.0', 'ftfy', 'regex'
        ],
        'timm': ['timm>=1.0.20'],  # DINOv3 and others, beside one of them
    })
