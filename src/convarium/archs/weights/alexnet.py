"""AlexNet in one tower of torchvision, which has no local response normalization.

Ours pads the first convolution by what the size of the images asks for: at 224 pixels by 2, as torchvision does always.
"""

from convarium.archs.weights.layout import IMAGENET, NO_NORM, PAPER_STEM, RELU, RGB, Layout, renamed

CONVOLUTIONS = {"0": "conv1.conv", "3": "conv2.conv", "6": "conv3.conv", "8": "conv4.conv", "10": "conv5.conv"}
LINEAR = {"1": "fc6.0", "4": "fc7.0", "6": "fc8"}
LAYOUTS = (
    Layout(
        "AlexNet of torchvision",
        marks=("features.0.weight", "features.10.weight", "classifier.1.weight", "classifier.6.weight"),
        lacks=("classifier.0.weight",),
        names=renamed(
            (r"features\.(0|3|6|8|10)", lambda match: CONVOLUTIONS[match[1]]),
            (r"classifier\.(1|4|6)", lambda match: LINEAR[match[1]]),
        ),
        sets=lambda state: IMAGENET | RELU | PAPER_STEM | NO_NORM,
        assumes=lambda state: ("relu", "max pooling", RGB),
        models=("alexnet",),
    ),
)
