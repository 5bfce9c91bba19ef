"""Weights fit a network whole, but for classifiers of another number of classes; what does not is named in one line."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from convarium.archs.inception_v1 import InceptionV1
from convarium.archs.inception_v3 import InceptionV3
from convarium.archs.resnet import CifarResNet
from convarium.archs.weights import fit


def net(**options: Any) -> CifarResNet:
    with torch.device("meta"):
        return CifarResNet(depth=8, **options)


def state(**options: Any) -> dict[str, Tensor]:
    return net(**options).state_dict()


def refused(network: nn.Module, weights: dict[str, Tensor]) -> str:
    with pytest.raises(ValueError) as caught:
        fit(network, weights)
    return str(caught.value)


def test_weights_that_fit_are_all_taken() -> None:
    fitted = fit(net(), state())
    assert list(fitted.state) == list(state())
    assert (fitted.new_heads, fitted.classes) == ((), 10)


def test_older_files_do_not_count_batches() -> None:
    older = {key: value for key, value in state().items() if not key.endswith("num_batches_tracked")}
    assert list(fit(net(), older).state) == list(older)


def test_a_classifier_for_another_number_of_classes_is_left_out() -> None:
    fitted = fit(net(num_classes=7), state())
    assert set(state()) - set(fitted.state) == {"classifier.weight", "classifier.bias"}
    assert (fitted.new_heads, fitted.classes) == (("classifier",), 10)


def test_those_of_auxiliary_heads_are_left_out_with_it() -> None:
    with torch.device("meta"):
        fitted = fit(InceptionV1(num_classes=7), InceptionV1().state_dict())
    assert (fitted.new_heads, fitted.classes) == (("aux.0.classifier", "aux.1.classifier", "classifier"), 1000)


def test_auxiliary_heads_are_left_out_for_a_network_without() -> None:
    with torch.device("meta"):
        fitted = fit(InceptionV1(aux_heads=False), InceptionV1().state_dict())
        assert not any(key.startswith("aux.") for key in fitted.state)
        told = refused(InceptionV1(), InceptionV1(aux_heads=False).state_dict())
    assert told.startswith("12 keys missing: aux.0.conv.conv.weight, aux.0.conv.conv.bias, aux.0.hidden.0.weight and 9")


@pytest.mark.parametrize(("network", "sizes"), [(InceptionV1, (224, 128)), (InceptionV3, (299, 224))])
def test_auxiliary_heads_for_images_of_another_size_are_refused_with_the_way_out(
    network: type[InceptionV1 | InceptionV3], sizes: tuple[int, int]
) -> None:
    with torch.device("meta"):
        published = network(image_size=sizes[0]).state_dict()
        told = refused(network(image_size=sizes[1]), published)
        fitted = fit(network(image_size=sizes[1], aux_heads=False), published)
    assert told.endswith("; its auxiliary heads are for images of another size; accepted: arch.aux_heads=false")
    assert not any(key.startswith("aux.") for key in fitted.state)


def test_what_is_missing_too_many_or_misshapen_is_named_and_counted() -> None:
    weights = state()
    del weights["stem.norm.bias"]
    weights["head"] = torch.zeros(3)
    weights["stem.conv.weight"] = torch.zeros(16, 1, 3, 3)
    assert refused(net(), weights) == (
        "1 key missing: stem.norm.bias; 1 key too many: head; 1 key of another shape: stem.conv.weight (16x1x3x3, not"
        " 16x3x3x3)"
    )


def test_of_many_keys_the_first_three_are_named() -> None:
    deeper = CifarResNet(depth=14).state_dict()
    assert refused(net(), deeper) == (
        "36 keys too many: stages.0.1.body.0.conv.weight, stages.0.1.body.0.norm.weight, stages.0.1.body.0.norm.bias"
        " and 33 more"
    )


def test_a_classifier_of_other_features_is_no_matter_of_classes() -> None:
    weights = state() | {"classifier.weight": torch.zeros(7, 65), "classifier.bias": torch.zeros(7)}
    assert "2 keys of another shape: classifier.weight (7x65, not 10x64)" in refused(net(), weights)
