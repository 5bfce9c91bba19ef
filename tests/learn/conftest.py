"""A small network, a fixed problem, and the yamls of this package's groups built by hand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from convarium.config.instantiate import build as instantiate

CONF = Path(__file__).parents[2] / "conf"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give an argument called `<group>_member` each member of conf/<group> but those that mean "nothing here"."""
    for name in metafunc.fixturenames:
        if name.endswith("_member"):
            files = (CONF / name.removesuffix("_member")).glob("*.yaml")
            metafunc.parametrize(name, sorted(path.stem for path in files if path.stem != "none"))


@pytest.fixture
def make_net() -> Callable[..., nn.Sequential]:
    """A function of a seed: a convolutional network for images (N, 1, 8, 8) of four classes."""
    return small_net


@pytest.fixture
def net() -> nn.Sequential:
    return small_net()


@pytest.fixture
def problem() -> tuple[Tensor, Tensor]:
    """Images (32, 1, 8, 8) with a bright quadrant in noise, and its number."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.arange(32) % 4
    images = 0.3 * torch.randn(32, 1, 8, 8, generator=generator)
    for image, target in zip(images, targets.tolist(), strict=True):
        image[:, 4 * (target // 2) :, 4 * (target % 2) :][:, :4, :4] += 1.0
    return images, targets


@pytest.fixture
def build() -> Callable[..., Any]:
    """A function of group, member and changes: what conf/<group>/<member>.yaml names, with some keys changed."""
    return build_member


def small_net(seed: int = 0) -> nn.Sequential:
    """Every role is there: first and hidden filters, a norm, hidden and last linear layer."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(8 * 4 * 4, 16),
        nn.ReLU(),
        nn.Linear(16, 4),
    )


def build_member(group: str, member: str, **changes: Any) -> Any:
    node: Any = OmegaConf.to_container(OmegaConf.load(CONF / group / f"{member}.yaml"), resolve=True)
    return instantiate({**node, **changes}, group)
