"""How an answer is reasoned out: a formula, the numbers put in, the result. What is printed is what is computed."""

import ast
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

Value = Any
"""A number, a truth value, a word, or lists of them."""
FUNCTIONS: dict[str, Any] = {
    **{name: getattr(math, name) for name in ("ceil", "exp", "floor", "sqrt")},
    **{function.__name__: function for function in (len, max, sum)},
    "ln": math.log,
    "sigmoid": lambda x: (1 + math.tanh(x / 2)) / 2,
}
"""What a formula may call."""


class Step(NamedTuple):
    """One line of thought; `formula` and `numbers`, the same with its numbers, are empty where there is none."""

    what: str
    formula: str
    numbers: str
    result: str


class Table(NamedTuple):
    """Rows of texts below their headings."""

    headings: Sequence[str]
    rows: list[Sequence[str]]


class Reasoning:
    """The steps of an answer in their order, and its numbers by name; each step may use those before it."""

    def __init__(self, given: Mapping[str, Value]) -> None:
        self.given = given
        self.results: dict[str, Value] = {}
        self.parts: list[Step | Table] = []

    def step(self, what: str, formula: str, name: str = "", unit: str = "") -> Value:
        """Compute a formula, a Python expression of numbers by name, and keep its value as `name`, if it has one.

        The value is nan where 0 is divided by, and inf where no float is large enough.
        """
        values = {**self.given, **self.results}
        try:
            value = eval(formula, {"__builtins__": {}, **FUNCTIONS, **values})  # ours; a person gives only the values
        except ZeroDivisionError:
            value = math.nan
        except OverflowError:
            value = math.inf
        if name:
            self.results[name] = value
        plain, numbers = written(formula), written(formula, values)
        result = f"{shown(value)} {unit}".rstrip() if math.isfinite(value) else shown(value)
        self.parts.append(Step(what, plain, "" if numbers in (plain, result) else numbers, result))
        return value

    def result(self, what: str, name: str, value: Value) -> None:
        """Keep a value that takes more than a formula."""
        self.results[name] = value
        self.parts.append(Step(what, "", "", shown(value)))

    def table(self, headings: Sequence[str], rows: Sequence[Sequence[Value]]) -> None:
        """Show rows of values."""
        self.parts.append(Table(headings, [[shown(value) for value in row] for row in rows]))


def written(formula: str, values: Mapping[str, Value] | None = None) -> str:
    """A formula as one writes it by hand; values stand in the place of their names."""
    text = ast.unparse(_PutIn(values or {}).visit(ast.parse(formula, mode="eval")))
    text = re.sub(r"\(\((.*? for [^()]*)\)\)", r"(\1)", text)  # of a generator ast writes the brackets twice
    text = re.sub(r" \*\* ([23])(?![\d.,])", lambda power: "²³"[int(power[1]) - 2], text)
    return text.replace(" ** ", "^").replace(" * ", " × ").replace(" // ", " / ")


class _PutIn(ast.NodeTransformer):
    def __init__(self, values: Mapping[str, Value]) -> None:
        self.values = values

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if node.id not in self.values:
            return node
        value = self.values[node.id]
        if isinstance(value, int | float) and value < 0:  # with its brackets
            return ast.UnaryOp(ast.USub(), ast.Name(shown(-value)))
        return ast.Name(shown(value))

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        return ast.Name(shown(node.value))


def shown(value: Value) -> str:
    """A value as a person reads it: 112,896,000, 0.142857, [1, 2]."""
    if isinstance(value, list):
        return f"[{', '.join(map(shown, value))}]"
    if isinstance(value, float) and not math.isfinite(value):
        return "undefined" if math.isnan(value) else "larger than any float"
    if isinstance(value, float):
        return f"{value + 0.0:,.0f}" if value.is_integer() and abs(value) < 1e15 else f"{value:,.6g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
