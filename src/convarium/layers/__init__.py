"""The vocabulary of the architectures: replaceable parts as factories, and what is built of them."""

from convarium.layers.outputs import AverageAndClassify, Outputs
from convarium.layers.parts import AS_IN_PAPER, ActivationFactory, InitFunction, Layers, NormFactory, Parts, PoolFactory
from convarium.sizes import output_size, takes_small_stem

__all__ = [
    "AS_IN_PAPER",
    "ActivationFactory",
    "AverageAndClassify",
    "InitFunction",
    "Layers",
    "NormFactory",
    "Outputs",
    "Parts",
    "PoolFactory",
    "output_size",
    "takes_small_stem",
]
