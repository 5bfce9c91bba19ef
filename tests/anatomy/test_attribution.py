"""What speaks for an answer: captum says the same, and so do the laws of linear networks."""

import pytest
import torch
from captum.attr import LayerGradCam, Occlusion, Saliency
from captum.robust import FGSM
from torch import Tensor, nn
from torch.testing import assert_close

from archs.catalog import asked
from archs.networks import fill_with_ramps, images, make
from convarium.anatomy.attribution import grad_cam, nudge, occlusion, saliency, scores
from convarium.anatomy.feature_maps import map_layers

EXACT = {"rtol": 1e-6, "atol": 1e-6}
NETS = asked(("lenet5", "resnet20", "inception_v1", "efficientnet_b0"), {"lenet5", "resnet20"})
CLASSES = torch.tensor([3, 7])


def filled(name: str, **options: int) -> nn.Module:
    net = make(name, **options).eval()
    fill_with_ramps(net)
    return net


@pytest.mark.parametrize("name", NETS)
def test_grad_cam_is_captum_s(name: str) -> None:
    net, x = filled(name), images(name, 2)
    layer = map_layers(net, x)[0][-1].name
    expected = LayerGradCam(net, net.get_submodule(layer)).attribute(x, CLASSES, relu_attributions=True)
    ours = grad_cam(net, x, layer, CLASSES)
    assert ours.any()
    assert_close(ours, expected.squeeze(1).detach(), **EXACT)


def test_what_is_computed_in_place_behind_a_layer_does_not_change_what_it_gave() -> None:
    torch.manual_seed(0)
    first, rest = nn.Conv2d(1, 4, 3), (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    in_place = nn.Sequential(first, nn.ReLU(inplace=True), *rest).eval()
    beside = nn.Sequential(first, nn.ReLU(), *rest).eval()
    x, classes = torch.randn(2, 1, 8, 8), torch.tensor([0, 2])
    assert_close(grad_cam(in_place, x, "0", classes), grad_cam(beside, x, "0", classes), rtol=0, atol=0)


def test_gradients_are_taken_beside_the_network_and_of_frozen_parameters_too() -> None:
    net, x = filled("lenet5"), images("lenet5", 2)
    expected = grad_cam(net, x, "c3", CLASSES)
    assert all(parameter.grad is None for parameter in net.parameters())
    assert_close(grad_cam(net.requires_grad_(False), x, "c3", CLASSES), expected, rtol=0, atol=0)
    assert not x.requires_grad


def test_a_layer_that_the_logits_do_not_depend_on_is_refused() -> None:
    class Aside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.linear = nn.Conv2d(1, 2, 3), nn.Linear(64, 2)

        def forward(self, x: Tensor) -> Tensor:
            self.conv(x)
            return self.linear(x.flatten(1))

    with pytest.raises(ValueError, match="layer=conv: the logits do not depend on it"):
        grad_cam(Aside(), torch.randn(1, 1, 8, 8), "conv", torch.tensor([0]))


def test_one_logit_speaks_for_one_class_and_against_the_other() -> None:
    logits = torch.tensor([[3.0], [-1.0]])
    assert_close(scores(logits).softmax(1)[:, 1], logits.sigmoid()[:, 0])
    net, x = filled("lenet5", num_classes=1), images("lenet5", 1)
    against, for_it = (grad_cam(net, x, "c3", torch.tensor([number])) for number in (0, 1))
    assert for_it.any()
    assert against.any()
    assert not (for_it * against).any()


@pytest.mark.parametrize("name", ["lenet5", "mlp"])
def test_saliency_is_captum_s(name: str) -> None:
    net, x = filled(name), images(name, 2)
    expected = Saliency(net).attribute(x.clone().requires_grad_(), CLASSES)
    assert_close(saliency(net, x, CLASSES), expected.amax(1), **EXACT)


@pytest.mark.parametrize(("patch", "stride"), [(8, 8), (9, 5), (32, 3)])
def test_occlusion_is_captum_s(patch: int, stride: int) -> None:
    net, [x] = filled("lenet5").double(), images("lenet5", 1).double()
    windows, strides = (1, patch, patch), (1, stride, stride)
    expected = Occlusion(net).attribute(x[None], windows, strides, target=3, baselines=0)[0, 0]
    passed: list[int] = []
    ours = occlusion(lambda some: net(some)[:, 3], x, patch=patch, stride=stride, batch=7, advance=passed.append)
    assert_close(ours.falls, expected.double(), **EXACT)
    y, x_at = ours.at
    hidden = x.clone()
    hidden[:, y : y + patch, x_at : x_at + patch] = 0
    assert float(net(hidden[None])[0, 3].detach()) == pytest.approx(ours.lowest)
    assert sum(passed) == len(range(0, 32 - patch + stride, stride)) ** 2


def linear(classes: int) -> nn.Module:
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, classes)).double()
    with torch.no_grad():
        net[1].weight.copy_(torch.randn(classes, 16, dtype=torch.float64))
    return net


def test_the_nudge_of_a_linear_network_is_the_least_there_is() -> None:
    net, x = linear(5), torch.rand(1, 1, 4, 4, dtype=torch.float64) * 0.2 + 0.4  # far from 0 and 1
    [logits], weight = net(x).detach(), net[1].weight.detach()
    own = int(logits.argmax())
    ways = [(logits[own] - logits[k]) / (weight[own] - weight[k]).abs().sum() for k in range(5) if k != own]
    changed = nudge(net, x)
    assert changed is not None
    assert float((changed - x).abs().max()) == pytest.approx(float(min(ways)), rel=2e-3)
    assert int(net(changed).argmax()) != own


def test_the_nudge_of_two_classes_goes_the_way_of_captum_s_fast_gradient_sign_method() -> None:
    net, x = linear(2), torch.rand(1, 1, 4, 4, dtype=torch.float64) * 0.2 + 0.4
    own, changed = net(x).argmax(1), nudge(net, x)
    assert changed is not None
    step = float((changed - x).abs().max())
    fgsm = FGSM(net, loss_func=nn.CrossEntropyLoss(reduction="none"), lower_bound=0.0, upper_bound=1.0)
    assert_close(fgsm.perturb(x.clone().requires_grad_(), epsilon=step, target=own), changed, **EXACT)
    for by, is_kept in ((0.99, True), (1.0, False)):
        perturbed = fgsm.perturb(x.clone().requires_grad_(), epsilon=step * by, target=own)
        assert (int(net(perturbed).argmax()) == int(own)) == is_kept


@pytest.mark.parametrize("name", ["lenet5", "mlp"])
def test_a_nudge_changes_the_answer_within_what_pixels_can_be(name: str) -> None:
    net, x = filled(name, num_classes=3), torch.rand(1, 1, 32, 32).round()  # black and white
    changed = nudge(net, x)
    assert changed is not None
    assert int(net(changed).argmax()) != int(net(x).argmax())
    assert 0 <= float(changed.min()) < float(changed.max()) <= 1


def test_where_nothing_changes_the_answer_there_is_no_nudge() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    with torch.no_grad():
        net[1].weight.zero_()
        net[1].bias.copy_(torch.tensor([1.0, 0.0]))
    assert nudge(net, torch.rand(1, 1, 4, 4)) is None
    with torch.no_grad():
        net[1].bias.fill_(torch.nan)
    assert nudge(net, torch.rand(1, 1, 4, 4)) is None
