"""JSON Schema of what can be sent, over HTTP."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from api.routes.schemas import KINDS
from tests.integration.api.serving import Api, problem

CELLS = ("vanilla", "leaky", "linear", "feedforward", "lstm", "gru")


def fields(node: Any, where: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Every property of every object in it."""
    if isinstance(node, list):
        return [one for item in node for one in fields(item, where)]
    if not isinstance(node, dict):
        return []
    own = [(where, name, field) for name, field in node.get("properties", {}).items()]
    return own + [one for name, item in node.items() for one in fields(item, f"{where}/{name}")]


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_has_a_description(shared: tuple[Api, httpx2.Client], kind: str):
    _, client = shared
    found = fields(client.get(f"/v1/schema/{kind}").json(), kind)
    assert found
    assert [(where, name) for where, name, field in found if not field.get("description")] == []


def test_defaults_and_ranges_are_those_of_the_contract(shared: tuple[Api, httpx2.Client]):
    _, client = shared
    vanilla = client.get("/v1/schema/vanilla").json()
    assert vanilla["properties"]["activation"]["default"] == "tanh"
    assert vanilla["properties"]["hidden_size"]["minimum"] == 1
    assert vanilla["required"] == ["hidden_size"]
    assert vanilla["additionalProperties"] is False
    assert client.get("/v1/schema/predict").json()["properties"]["return"]["default"] == ["outputs"]


def test_the_list_names_every_kind_and_what_it_is(shared: tuple[Api, httpx2.Client]):
    _, client = shared
    kinds = client.get("/v1/schema").json()["kinds"]
    assert {"network", "training", "train", "cell", "predict", "check", *CELLS} <= set(kinds)
    assert all(kinds.values())


def test_an_unknown_kind_is_answered_with_those_that_there_are(shared: tuple[Api, httpx2.Client]):
    _, client = shared
    detail = problem(client.get("/v1/schema/spiking"), 404, "not_found")["detail"]
    assert all(kind in detail for kind in KINDS)


def test_schemas_need_a_key(shared: tuple[Api, httpx2.Client]):
    api, _ = shared
    with httpx2.Client(base_url=api.url, verify=False, trust_env=False) as nobody:
        problem(nobody.get("/v1/schema/network"), 401, "unauthorized")
