"""AlexNet: Krizhevsky, Sutskever, Hinton, "ImageNet Classification with Deep Convolutional Neural Networks", 2012; in
one tower: Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014, arXiv 1404.5997.

The two towers, one a GPU in the paper, are the two groups of the second, fourth and fifth convolution. The paper says
224 pixels, but maps of 55x55 need 227: the author's code lets the last windows hang over the far edges. Here all edges
are padded by half of that (2 at 224, nothing at 227), which gives the same maps, moved by a pixel or two. Local
response normalization runs over all maps of a layer, as its formula says, those of both towers.

Differs: the paper's initialization (normal, deviation 0.01, biases of 1 in conv2, conv4, conv5, fc6 and fc7) is made
for pixels of 0 to 255 and lies in recipe=alexnet_2012. Here it is He's, with which the default optimizer gets on sooner
(on the digits, a copy with a quarter of the kernels had a loss of 0.5 after 125 steps, with the paper's 2.4). One
tower: its author's configuration for cuda-convnet2 has the first local response normalization before the ReLU, where
here it is after it, as in 2012 (alpha is from there), deviations of 0.03 in conv3 to conv5, and a bias of -7 at the
output.

For small images (stem: auto takes it up to 64 pixels) the first convolution is 5x5 with stride 1 and padding 2, so that
the three poolings leave maps of 3x3 of an image of 32; the others are the paper's.
"""

from functools import partial

from torch import Tensor, nn

from convarium.layers import AS_IN_PAPER, Layers, Parts, output_size, takes_small_stem
from convarium.layers.init import he
from convarium.layers.norm import LocalResponse, none
from convarium.layers.pooling import max_pool

# the kernels of the five convolutions, all towers together, and alpha of the local response normalization
TOWERS = {1: ((64, 192, 384, 256, 256), 2e-5), 2: ((96, 256, 384, 384, 256), 1e-4)}
HIDDEN = 4096  # both hidden linear layers
WINDOW1, STRIDE1 = 11, 4  # of the first convolution
SMALL_WINDOW1 = 5  # the same in the small stem, with stride 1
POOL, POOL_STRIDE = 3, 2  # overlapping
PAPER = Layers(norm=none, activation=nn.ReLU, pool=max_pool, init=he, dropout=0.5)


class AlexNet(nn.Module):
    """Five convolutions, three of them pooled, then three linear layers; (N, C, H, W) -> (N, num_classes).

    Raises ValueError for images of which the last pooling would leave nothing: below 64 with the paper's stem, below 15
    with the small one.
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        num_classes: int = 1000,
        image_size: int = 224,
        parts: Parts = AS_IN_PAPER,
        towers: int = 2,
        stem: str = "auto",
    ) -> None:
        super().__init__()
        layers = parts.over(PAPER)
        (conv1, conv2, conv3, conv4, conv5), alpha = TOWERS[towers]
        small = takes_small_stem(stem, image_size)
        window, stride = (SMALL_WINDOW1, 1) if small else (WINDOW1, STRIDE1)
        overhang = -(image_size - WINDOW1) % STRIDE1  # half of it on each edge, so that no pixel is left out
        padding = SMALL_WINDOW1 // 2 if small else (overhang + 1) // 2
        size = _size_at_fc6(image_size, window, stride, padding)
        normalized = layers._replace(norm=partial(LocalResponse, alpha=alpha)) if parts.norm is None else layers
        self.conv1 = normalized.conv(in_channels, conv1, window, stride=stride, padding=padding)
        self.pool1 = layers.pool(POOL, POOL_STRIDE, channels=conv1)
        self.conv2 = normalized.conv(conv1, conv2, 5, groups=towers)
        self.pool2 = layers.pool(POOL, POOL_STRIDE, channels=conv2)
        self.conv3 = layers.conv(conv2, conv3, 3)  # sees both towers
        self.conv4 = layers.conv(conv3, conv4, 3, groups=towers)
        self.conv5 = layers.conv(conv4, conv5, 3, groups=towers)
        self.pool5 = layers.pool(POOL, POOL_STRIDE, channels=conv5)
        self.fc6 = nn.Sequential(nn.Linear(conv5 * size**2, HIDDEN), layers.activation(), nn.Dropout(layers.dropout))
        self.fc7 = nn.Sequential(nn.Linear(HIDDEN, HIDDEN), layers.activation(), nn.Dropout(layers.dropout))
        self.fc8 = nn.Linear(HIDDEN, num_classes)
        layers.init(self)

    def forward(self, x: Tensor) -> Tensor:  # (N, C, 224, 224)
        x = self.pool1(self.conv1(x))  # (N, 96, 27, 27)
        x = self.pool2(self.conv2(x))  # (N, 256, 13, 13)
        x = self.conv4(self.conv3(x))  # (N, 384, 13, 13)
        x = self.pool5(self.conv5(x))  # (N, 256, 6, 6)
        x = self.fc6(x.flatten(1))  # (N, 4096)
        x = self.fc7(x)  # (N, 4096)
        logits: Tensor = self.fc8(x)  # (N, num_classes)
        return logits


def _size_at_fc6(image_size: int, window: int, stride: int, padding: int) -> int:
    size = output_size(image_size, window, stride, padding)
    for _ in ("pool1", "pool2", "pool5"):
        size = output_size(size, POOL, POOL_STRIDE)
    if size < 1:
        least = "64 (or stem=small)" if stride > 1 else "15"
        raise ValueError(f"image_size={image_size}: too small for pool5 of AlexNet, which needs images of {least}")
    return size
