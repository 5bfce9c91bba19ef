"""What a network learns by: losses, rules, updates."""

from typing import Annotated, Literal

from convarium.anatomy.explain.reasoning import Reasoning
from convarium.anatomy.explain.topic import Key, require_one_a_layer

Probability = Annotated[float, Key("probability p that a sigmoid unit gives to what is true", 1e-12, 1)]
Numbers = Annotated[list[float], Key("one an input; an input of 1 has the bias as its weight", -10, 10)]


def loss(why: Reasoning, *, before: Probability = 1e-6, after: Probability = 1e-3) -> None:
    """Why cross-entropy teaches where squared error does not

    Why: the gradient by the logit z moves it. That of squared error has the slope p(1 - p) of the sigmoid in it,
    which is near 0 where the unit is sure and wrong; the logarithm cancels the slope: cross-entropy's is near -1
    there.

    Source: Glorot & Bengio 2010, section 4.1
    """
    for name, formula in (("squared_error", "(1 - {})**2"), ("cross_entropy", "-ln({})")):
        plain = name.replace("_", " ")
        why.step(f"{plain} before", formula.format("before"), f"{name}_before")
        why.step(f"{plain} after", formula.format("after"), f"{name}_after")
        why.step("it changes by", f"100 * ({name}_after / {name}_before - 1)", f"{name}_change_percent", "%")
    why.step("gradient of squared error before", "-2 * before * (1 - before)**2", "squared_error_gradient")
    why.step("gradient of cross entropy before", "-(1 - before)", "cross_entropy_gradient")
    why.step("so many times larger", "cross_entropy_gradient / squared_error_gradient", "ratio")


def dropout(
    why: Reasoning,
    *,
    p: Annotated[float, Key("a probability", 0, 1)] = 0.5,
    p_means: Annotated[
        Literal["drop", "keep"], Key("what it is the probability of: PyTorch's, or the paper's")
    ] = "drop",
    units: Annotated[int, Key("units of the layer")] = 4096,
) -> None:
    """Dropout, where p is to drop, or in the paper to keep

    Why: no unit can rely on another one. The mean is the same with and without, since either what is kept is scaled
    up in training (PyTorch) or all is scaled down in the test (the papers).

    Often quoted: "p = 0.5 is the probability to retain a unit"; in the paper it is, and in PyTorch and Keras that to
    drop it. The paper's 0.8 is nn.Dropout(0.2).

    Source: Srivastava et al. 2014, section 4; Krizhevsky et al. 2012, section 4.2
    """
    why.step("dropped with probability, the p of nn.Dropout", "p" if p_means == "drop" else "1 - p", "drop")
    why.step("kept with probability", "1 - drop", "keep")
    why.step("units that are kept on average", "keep * units", "kept_units")
    why.step("PyTorch in training multiplies what is kept by", "1 / keep", "training_scale")
    why.step("a unit of 1 is then on average", "drop * 0 + keep * training_scale", "mean")
    why.step("with a standard deviation of", "sqrt(drop / keep)", "standard_deviation")
    why.step("the papers multiply every unit in the test by", "keep", "test_scale")


def mini_batch(
    why: Reasoning,
    *,
    samples: Annotated[int, Key("training samples", 1, 1e12)] = 1050,
    batch_size: Annotated[int, Key("samples of one update", 1, 1e9)] = 100,
    epochs: Annotated[int, Key("passes over the samples")] = 1,
) -> None:
    """How many updates an epoch has

    Why: smaller batches give more updates for the same cost, and noisier ones. ResNet's 64,000 updates on CIFAR-10
    are 163.8 epochs (samples=50000 batch_size=128).

    Source: LeCun et al. 1998, "Efficient BackProp", section 4.1; He et al. 2015, section 4.2
    """
    why.step("full batches", "floor(samples / batch_size)", "full_batches")
    why.step("samples of the last batch", "samples - full_batches * batch_size", "last_batch")
    why.step("updates of an epoch", "ceil(samples / batch_size)", "updates")
    why.step("without the last one (data.drop_last=true, the default)", "full_batches", "updates_without_last")
    why.step("updates of all epochs", "epochs * updates", "total_updates")


def perceptron(
    why: Reasoning,
    *,
    inputs: Numbers = [1, 2, 1],
    weights: Numbers = [0.5, -0.5, 0.1],
    target: Annotated[int, Key("what the unit should say", 0, 1)] = 1,
    learning_rate: Annotated[float, Key("step of an update", 0, 100)] = 1,
) -> None:
    """Perceptron and logistic regression: one model, two rules

    Why: both sum weighted inputs, and change each weight by learning_rate × error × input. The perceptron's error is
    of what it says, 0 or 1: it learns from mistakes alone. That of logistic regression is of a probability, and never
    0. Both tell two classes apart; for ten digits there are ten units, and the largest sum wins (28x28 pixels: 7,850
    parameters).

    Often quoted: "a perceptron with a sigmoid is logistic regression"; as a model, but it learns by another rule.

    Source: Rosenblatt 1958; Cox 1958
    """
    require_one_a_layer(inputs=inputs, weights=weights)
    why.step("sum", " + ".join(f"({w}) * ({x})" for w, x in zip(weights, inputs, strict=True)), "score")
    for name, says in (("perceptron", "1 if score > 0 else 0"), ("logistic", "sigmoid(score)")):
        why.step(f"the {name} unit says", says, f"{name}_says")
        error = why.step("its error", f"target - {name}_says", f"{name}_error")
        why.step("its first weight becomes", f"({weights[0]}) + learning_rate * {name}_error * ({inputs[0]})")
        changed = [w + learning_rate * error * x for w, x in zip(weights, inputs, strict=True)]
        why.result("its weights become", f"{name}_weights", changed)
