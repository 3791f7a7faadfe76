"""The dashboard takes the names that the definitions take, no more and no fewer."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import yaml

from mailhearth_core.names import LONGEST, RESERVED, RESERVED_BEGINNINGS, why_not

CRDS = sorted((Path(__file__).resolve().parents[3] / "crds").glob("*.yaml"))


@pytest.mark.parametrize("path", CRDS, ids=lambda path: path.stem)
def test_core_and_the_definition_name_the_same_words(path: Path) -> None:
    (version,) = yaml.safe_load(path.read_text())["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]
    rules = [
        one["rule"]
        for one in schema["x-kubernetes-validations"]
        if one["fieldPath"] == ".metadata.name"
    ]
    (shape,) = (re.search(r"matches\('\^(.+)\$'\)", rule) for rule in rules if "matches" in rule)
    (words,) = (rule[rule.index("[") : -1] for rule in rules if " in [" in rule)
    (begins,) = (re.findall(r"startsWith\('(.+?)'\)", rule) for rule in rules if "starts" in rule)
    assert shape is not None
    assert schema["properties"]["metadata"]["properties"]["name"]["maxLength"] == LONGEST
    assert tuple(ast.literal_eval(words)) == RESERVED
    assert tuple(begins) == RESERVED_BEGINNINGS
    for name in ("a", "a-b", "9", "a" * LONGEST, "-a", "a-", "A", "a.b", "a_b", ""):
        assert (why_not(name) is None) == bool(re.fullmatch(shape[1], name)), name


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("a" * (LONGEST + 1), "At most 50"),
        *((word, "reserved") for word in (*RESERVED, *RESERVED_BEGINNINGS)),
    ],
)
def test_others_are_refused_with_a_reason(name: str, problem: str) -> None:
    name += "x" * name.endswith("-")
    assert problem in (why_not(name) or "")
