"""Inception-v3: its modules, auxiliary head and stems, and the same function as torchvision's."""

import pytest
import torch
import torchvision
from torch import nn

from convarium.archs.inception_v3 import AUX_PAPER, AuxiliaryHead, InceptionV3
from convarium.layers import Parts
from convarium.layers.pooling import average_pool, max_pool


def copied(theirs: nn.Module, ours: nn.Module) -> None:
    """Give their network the weights of ours, parameter by parameter in the order of both."""
    theirs.load_state_dict(dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True)))


def pad_counted(net: nn.Module) -> None:
    """torchvision's averages count the padding; ours, as TensorFlow's, do not."""
    for module in net.modules():
        if isinstance(module, nn.AvgPool2d):
            module.count_include_pad = True


def test_the_modules_give_at_299_pixels() -> None:
    shapes: dict[str, tuple[int, ...]] = {}
    with torch.device("meta"):
        net = InceptionV3().eval()
        x = torch.empty(1, 3, 299, 299)
        for name, module in [*net.stem.named_children(), *net.to_6e.named_children(), *net.to_7c.named_children()]:
            x = module(x)
            shapes[name] = (x.shape[1], x.shape[2])
    assert shapes == {
        "0": (32, 149),
        "1": (32, 147),
        "2": (64, 147),
        "3": (64, 73),
        "4": (80, 73),
        "5": (192, 71),
        "6": (192, 35),
        "5b": (256, 35),
        "5c": (288, 35),
        "5d": (288, 35),
        "6a": (768, 17),
        "6b": (768, 17),
        "6c": (768, 17),
        "6d": (768, 17),
        "6e": (768, 17),
        "7a": (1280, 8),
        "7b": (2048, 8),
        "7c": (2048, 8),
    }


@pytest.mark.parametrize(("aux_heads", "parameters"), [(True, 27_161_264), (False, 23_834_568)])
def test_the_auxiliary_head_is_an_option(aux_heads: bool, parameters: int) -> None:
    with torch.device("meta"):
        net = InceptionV3(aux_heads=aux_heads)
    assert sum(parameter.numel() for parameter in net.parameters()) == parameters
    assert sum(parameter.numel() for parameter in net.aux.parameters()) == (3_326_696 if aux_heads else 0)


def test_the_auxiliary_head_computes_the_same_function_as_torchvisions() -> None:
    ours = AuxiliaryHead(768, 17, 10, AUX_PAPER).double()
    theirs = torchvision.models.inception.InceptionAux(768, 10).double()
    copied(theirs, ours)
    maps = torch.randn(2, 768, 17, 17, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(ours(maps), theirs(maps), rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(ours.eval()(maps), theirs.eval()(maps), rtol=1e-9, atol=1e-12)


@pytest.mark.slow
def test_it_trains_the_same_function_as_torchvisions_at_299_pixels() -> None:
    """Both logits, from the statistics of the batch; torchvision's auxiliary head stands before module 7a."""
    ours = InceptionV3(num_classes=10, parts=Parts(dropout=0.0)).double()
    theirs = torchvision.models.inception_v3(weights=None, init_weights=False, num_classes=10, dropout=0.0).double()
    pad_counted(ours)
    values = ours.state_dict()
    aux = {key: value for key, value in values.items() if key.startswith("aux.")}
    main = iter(value for key, value in values.items() if key not in aux)
    heads = iter(aux.values())
    theirs.load_state_dict({key: next(heads if "AuxLogits" in key else main) for key in theirs.state_dict()})
    images = torch.randn(2, 3, 299, 299, dtype=torch.float64)
    with torch.no_grad():
        outputs, expected = ours(images), theirs(images)
    torch.testing.assert_close(outputs.logits, expected.logits, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(outputs.aux, (expected.aux_logits,), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("image_size", "sizes"),
    [(299, (35, 17, 8)), (331, (39, 19, 9)), (64, (31, 15, 7)), (32, (15, 7, 3)), (23, (11, 5, 2))],
)
def test_the_modules_see_maps_of(image_size: int, sizes: tuple[int, int, int]) -> None:
    with torch.device("meta"):
        net = InceptionV3(image_size=image_size)
        x = net.stem(torch.empty(2, 3, image_size, image_size))
        at_6e = net.to_6e(x)
        assert (x.shape[-1], at_6e.shape[-1], net.to_7c(at_6e).shape[-1]) == sizes
        assert net.aux[0](at_6e).shape == (2, 1000)


def test_another_pooling_reaches_the_auxiliary_head_and_both_kinds() -> None:
    kinds = (nn.MaxPool2d, nn.AvgPool2d)
    with torch.device("meta"):
        nets = [InceptionV3(parts=Parts(pool=pool)) for pool in (max_pool, average_pool)]
    for net, kind in zip(nets, kinds, strict=True):
        assert [type(module) for module in net.modules() if isinstance(module, kinds)] == [kind] * 14


def test_averages_do_not_count_the_padding() -> None:
    net = InceptionV3(in_channels=1, num_classes=10, image_size=32)
    pool = net.to_6e.get_submodule("5b.pool.0")
    assert torch.equal(pool(torch.ones(1, 192, 4, 4)), torch.ones(1, 192, 4, 4))


@pytest.mark.parametrize(
    ("image_size", "stem", "layer"),
    [
        (2, "paper", "the first convolution"),
        (6, "paper", "the second convolution"),
        (10, "paper", "the first pooling"),
        (14, "paper", "the last convolution of the stem"),
        (22, "paper", "the last pooling of the stem"),
        (42, "paper", "module 6a"),
        (74, "paper", "module 7a"),
        (2, "auto", "the last pooling of the stem"),
        (6, "auto", "module 6a"),
        (14, "auto", "module 7a"),
        (22, "auto", "the auxiliary head"),
        (106, "auto", "the auxiliary head"),
    ],
)
def test_an_image_too_small_is_refused_and_the_layer_named(image_size: int, stem: str, layer: str) -> None:
    with torch.device("meta"), pytest.raises(ValueError, match=f"image_size={image_size}: too small for {layer}"):
        InceptionV3(image_size=image_size, stem=stem)


@pytest.mark.parametrize(("image_size", "stem"), [(75, "paper"), (15, "small")])
def test_the_smallest_images_without_the_auxiliary_head(image_size: int, stem: str) -> None:
    with torch.device("meta"):
        net = InceptionV3(image_size=image_size, stem=stem, aux_heads=False).eval()
        assert net(torch.empty(1, 3, image_size, image_size)).shape == (1, 1000)
