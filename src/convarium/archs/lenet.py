"""LeNet-5: LeCun, Bottou, Bengio, Haffner, "Gradient-Based Learning Applied to Document Recognition", 1998,
section II.B.

Differs: C3 sees all maps of S2 (the paper has a sparse table, to break symmetry and save connections); S2 and S4 are
plain averages (the paper's have a trainable coefficient and bias each, and a squashing); the output is linear (the
paper's are distances to fixed bitmaps). That makes 61,706 parameters of the paper's 60,000, which lenet5_1998.py has.
"""

from torch import Tensor, nn

from convarium.layers import AS_IN_PAPER, Layers, Parts, output_size
from convarium.layers.activation import ScaledTanh
from convarium.layers.init import uniform_fan_in
from convarium.layers.norm import none
from convarium.layers.pooling import average_pool

C1, C3, C5, F6 = 6, 16, 120, 84  # maps, maps, maps, units
KERNEL, WINDOW = 5, 2  # of every convolution; of every pooling
PAPER = Layers(norm=none, activation=ScaledTanh, pool=average_pool, init=uniform_fan_in)


class LeNet5(nn.Module):
    """Convolutions and averages in turn, then two linear layers; (N, C, H, W) -> (N, num_classes).

    Made for 32x32, where C5 sees each map whole; a larger image leaves F6 several positions of C5 to see. Dropout,
    which the paper has not, sits before the output. Raises ValueError for images below 32.
    """

    def __init__(
        self, *, in_channels: int = 1, num_classes: int = 10, image_size: int = 32, parts: Parts = AS_IN_PAPER
    ) -> None:
        super().__init__()
        layers = parts.over(PAPER)
        self.c1 = layers.conv(in_channels, C1, KERNEL, padding=0)
        self.s2 = layers.pool(WINDOW, WINDOW, channels=C1)
        self.c3 = layers.conv(C1, C3, KERNEL, padding=0)
        self.s4 = layers.pool(WINDOW, WINDOW, channels=C3)
        self.c5 = layers.conv(C3, C5, KERNEL, padding=0)
        self.f6 = nn.Sequential(nn.Linear(C5 * c5_size(image_size) ** 2, F6), layers.activation())
        self.dropout = nn.Dropout(layers.dropout)
        self.output = nn.Linear(F6, num_classes)
        layers.init(self)

    def forward(self, x: Tensor) -> Tensor:  # (N, C, 32, 32)
        x = self.s2(self.c1(x))  # (N, 6, 14, 14)
        x = self.s4(self.c3(x))  # (N, 16, 5, 5)
        x = self.c5(x)  # (N, 120, 1, 1)
        x = self.f6(x.flatten(1))  # (N, 84)
        logits: Tensor = self.output(self.dropout(x))  # (N, num_classes)
        return logits


def c5_size(image_size: int) -> int:
    """The side of C5's maps; raises ValueError for images below 32."""
    size = image_size
    for kernel_size, stride in ((KERNEL, 1), (WINDOW, WINDOW), (KERNEL, 1), (WINDOW, WINDOW), (KERNEL, 1)):
        size = output_size(size, kernel_size, stride)
    if size < 1:
        raise ValueError(f"image_size={image_size}: too small for c5 of LeNet-5, whose 5x5 filters need images of 32")
    return size
