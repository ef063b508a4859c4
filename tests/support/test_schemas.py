import json
from pathlib import Path

import pytest

from stroma.support.schemas import MODELS, schema

FOLDER = Path(__file__).parents[2] / "docs" / "schemas"


@pytest.mark.parametrize("name", MODELS)
def test_the_published_schema_is_current(name):
    published = json.loads((FOLDER / f"{name}.schema.json").read_text(encoding="utf-8"))
    assert published == json.loads(json.dumps(schema(name))), "run 'make schemas'"


@pytest.mark.parametrize("name", MODELS)
def test_a_schema_is_closed_and_allows_extends(name):
    content = schema(name)
    assert content["additionalProperties"] is False
    assert "extends" in content["properties"]
