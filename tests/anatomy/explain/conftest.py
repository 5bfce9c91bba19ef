"""Answers of topics, for keys as Python has them."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from convarium.anatomy.explain.topic import topics


@pytest.fixture(scope="session")
def answer() -> Callable[..., dict[str, Any]]:
    """The numbers of a topic's answer by name, for some of its keys, the others at their defaults."""

    def answered(topic: str, **keys: Any) -> dict[str, Any]:
        texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in keys.items()}
        return topics()[topic].explain(texts).results

    return answered
