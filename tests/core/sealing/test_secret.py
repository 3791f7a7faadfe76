"""A Secret shows its text to nobody who does not ask."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
import traceback

import pytest
from pydantic import BaseModel

from mailhearth_core.secrets import Secret

CANARY = "c4nary-hunter2"


@dataclasses.dataclass
class Holder:
    secret: Secret


class Model(BaseModel):
    secret: Secret


def test_every_way_of_printing_gives_the_mask() -> None:
    secret = Secret(CANARY)
    shown = [
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret!r:>40}",
        "%s %r" % (secret, secret),  # noqa: UP031
        repr(Holder(secret)),
        repr(dataclasses.asdict(Holder(secret))),
        repr([secret]),
        repr(Model(secret=secret)),
        Model(secret=secret).model_dump_json(),
        repr(Model(secret=secret).model_dump()),
    ]
    assert not [text for text in shown if CANARY in text]
    assert secret.reveal() == CANARY
    assert not hasattr(secret, "__dict__")


def test_pickle_and_json_are_refused() -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(Secret(CANARY), protocol)
    with pytest.raises(TypeError):
        json.dumps({"password": Secret(CANARY)})


def test_wrong_text_is_refused_without_showing_it() -> None:
    for wrong in (CANARY.encode(), [CANARY], CANARY + "\ud800"):
        with pytest.raises((TypeError, ValueError)) as caught:
            Secret(wrong)  # type: ignore[arg-type]
        assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_equality_copies_and_emptiness() -> None:
    secret = Secret(CANARY)
    assert secret == Secret(CANARY)
    assert secret != Secret(CANARY + "x")
    assert secret != CANARY
    assert copy.deepcopy(secret) is secret
    assert copy.copy(secret) is secret
    assert not Secret("")
    with pytest.raises(TypeError):
        hash(secret)
