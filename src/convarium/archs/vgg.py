"""VGG: Simonyan & Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", 2014,
arXiv 1409.1556.

Differs: the paper drew A from a normal distribution of variance 0.01 (as in recipe=vgg_2014) and started B to E from a
trained A (init=recipe/vgg_from_a_2014); its authors found later that Glorot and Bengio's initialization does as well
(section 3.1). Here it is He's, which also starts to learn on small images with the default optimizer (in the first 60
steps on digits Glorot's stayed at chance). The first linear layer takes the maps that five poolings leave of the image,
7x7 at 224 and 1x1 at 32; there is no other stem for small images.
"""

from torch import Tensor, nn

from convarium.layers import AS_IN_PAPER, Layers, Parts
from convarium.layers.init import he
from convarium.layers.norm import LocalResponse, none
from convarium.layers.pooling import max_pool

CONFIGURATIONS: dict[str, tuple[tuple[int, ...], ...]] = {  # columns of Table 1: kernel sizes, stage by stage
    "A": ((3,), (3,), (3, 3), (3, 3), (3, 3)),
    "A-LRN": ((3,), (3,), (3, 3), (3, 3), (3, 3)),  # with local response normalization after the first convolution
    "B": ((3, 3), (3, 3), (3, 3), (3, 3), (3, 3)),
    "C": ((3, 3), (3, 3), (3, 3, 1), (3, 3, 1), (3, 3, 1)),
    "D": ((3, 3), (3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3)),
    "E": ((3, 3), (3, 3), (3, 3, 3, 3), (3, 3, 3, 3), (3, 3, 3, 3)),
}
WIDTHS = (64, 128, 256, 512, 512)  # of the stages
HIDDEN = 4096  # both hidden linear layers
PAPER = Layers(norm=none, activation=nn.ReLU, pool=max_pool, init=he, dropout=0.5)


class VGG(nn.Module):
    """Five stages of small convolutions, each pooled, then three linear layers; (N, C, H, W) -> (N, num_classes).

    Raises ValueError for an unknown configuration (accepted: A, A-LRN, B, C, D, E) and for images below 32.
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        num_classes: int = 1000,
        image_size: int = 224,
        parts: Parts = AS_IN_PAPER,
        configuration: str = "D",
    ) -> None:
        super().__init__()
        if configuration not in CONFIGURATIONS:
            raise ValueError(f"configuration={configuration}: accepted are {', '.join(CONFIGURATIONS)}")
        size = image_size // 2 ** len(WIDTHS)
        if size < 1:
            raise ValueError(
                f"image_size={image_size}: too small for the last pooling of VGG, which needs images of 32"
            )
        layers = parts.over(PAPER)
        first = layers._replace(norm=LocalResponse) if configuration == "A-LRN" and parts.norm is None else layers

        self.stages = nn.Sequential()
        for kernel_sizes, width in zip(CONFIGURATIONS[configuration], WIDTHS, strict=True):
            stage = nn.Sequential()
            for kernel_size in kernel_sizes:
                stage.append((layers if self.stages or stage else first).conv(in_channels, width, kernel_size))
                in_channels = width
            self.stages.append(stage.append(layers.pool(2, 2, channels=width)))

        self.fc6 = nn.Sequential(
            nn.Linear(in_channels * size**2, HIDDEN), layers.activation(), nn.Dropout(layers.dropout)
        )
        self.fc7 = nn.Sequential(nn.Linear(HIDDEN, HIDDEN), layers.activation(), nn.Dropout(layers.dropout))
        self.fc8 = nn.Linear(HIDDEN, num_classes)
        layers.init(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stages(x)  # (N, 512, H/32, W/32)
        x = self.fc6(x.flatten(1))  # (N, 4096)
        x = self.fc7(x)  # (N, 4096)
        logits: Tensor = self.fc8(x)  # (N, num_classes)
        return logits
