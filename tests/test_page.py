"""The frame of a page: what it lets run, and that texts stay texts."""

import json
import re

from convarium.page import page


def test_a_page_allows_its_own_scripts_and_nothing_else() -> None:
    text = page("t", "<p>x</p>", scripts=["let a = 1", "let b = 2"])
    policy = re.findall(r'content="(default-src[^"]*)"', text)[0]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert policy.count("sha256-") == 3
    assert "img-src" not in policy
    assert "connect-src" not in policy
    assert "script-src 'none'" in page("t", "")
    assert "img-src data:;" in page("t", "", pictures=True)
    assert "connect-src 'self';" in page("t", "", live=True)


def test_data_of_a_page_end_no_element_and_come_back_as_they_were() -> None:
    value = {"name": "</script><img onerror=alert(1)> & 猫", "n": [1, 2.5, None]}
    text = page("t", "", data={"runs": value})
    held = re.findall(r'<script type="application/json" id="runs">(.*?)</script>', text)
    assert [json.loads(one) for one in held] == [value]
    assert "<img" not in text
