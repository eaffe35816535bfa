"""The JSON Schemas of channels: which one an event has, and the files that they are in."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from broadcaster.core.catalogue import Catalogue
from broadcaster.core.channel import Channel
from broadcaster.errors import ConfigurationError, InvalidEventError
from broadcaster.settings import load_settings
from broadcaster.settings.kept import LOOK_S
from broadcaster.settings.schemas import Schemas
from tests.channels import named
from tests.files import swap
from tests.settings.test_kept import Clock, clock

__all__ = ["clock"]

STOCK = {"type": "object", "required": ["newStock"]}


def channels(folder: Path, **schemas: Any) -> Mapping[str, Channel]:
    """A channel `pets` with these schemas by type, and another without."""
    paths = {}
    for name, schema in schemas.items():
        path = folder / f"{name}.json"
        path.write_text(json.dumps(schema))
        paths["*" if name == "others" else name] = str(path)
    return Catalogue([*named("pets", schemas=paths), *named("other")])


def fits(schemas: Schemas, type_: str, data: str, channel: str = "pets") -> bool:
    try:
        schemas.check(channel, type_, data)
    except InvalidEventError:
        return False
    return True


def test_each_type_has_its_schema_and_others_have_none(tmp_path: Path) -> None:
    schemas = Schemas(channels(tmp_path, stock=STOCK, message={"type": "integer"}))
    assert schemas
    assert fits(schemas, "stock", '{"newStock":1}')
    assert not fits(schemas, "stock", "{}")
    assert [fits(schemas, type_, "1.5") for type_ in ("message", "")] == [False, False]
    assert fits(schemas, "other", "no JSON at all")
    assert fits(schemas, "stock", "{}", "other")


def test_a_schema_for_all_other_types_can_refuse_them(tmp_path: Path) -> None:
    schemas = Schemas(channels(tmp_path, stock=STOCK, others=False))
    assert fits(schemas, "stock", '{"newStock":1}')
    with pytest.raises(InvalidEventError, match="its schema allows nothing here"):
        schemas.check("pets", "stok", '{"newStock":1}')


def test_a_changed_schema_counts_and_a_broken_one_does_not(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    schemas = Schemas(channels(tmp_path, stock=STOCK))
    swap(tmp_path / "stock.json", '{"type":"integer"}')
    assert not fits(schemas, "stock", "1")
    clock.now_s += LOOK_S
    assert fits(schemas, "stock", "1")
    for _ in range(2):
        swap(tmp_path / "stock.json", '{"type":"integr"}')
        clock.now_s += LOOK_S
        assert fits(schemas, "stock", "1")
        assert not fits(schemas, "stock", "{}")
    (record,) = caplog.records
    assert "stock.json' stays as it was: /type: it does not fit" in record.getMessage()


def test_the_documents_are_those_of_the_files(tmp_path: Path, clock: Clock) -> None:
    schemas = Schemas(channels(tmp_path, stock=STOCK, others=False))
    assert schemas.documents("pets") == {"stock": STOCK, "*": False}
    assert schemas.documents("other") == {}
    swap(tmp_path / "stock.json", '{"multipleOf": 0.1}')
    clock.now_s += LOOK_S
    assert schemas.documents("pets") == {"stock": {"multipleOf": 0.1}, "*": False}


def test_a_broken_file_at_the_start_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"'pets': .*stock\.json': /type: it does not fit"):
        Schemas(channels(tmp_path, stock={"type": "strin"}))
    (tmp_path / "stock.json").unlink()
    with pytest.raises(ConfigurationError, match=r"'pets': .*stock\.json': No such file"):
        Schemas(Catalogue(named("pets", schemas={"stock": str(tmp_path / "stock.json")})))


def test_the_settings_name_the_files(tmp_path: Path) -> None:
    config = tmp_path / "hub.toml"
    config.write_text('[channels.pets]\npath="/pets"\n[channels.pets.schemas]\nstock = "s.json"\n')
    assert load_settings(config).channels["pets"].schemas == {"stock": "s.json"}
    config.write_text('[channels.pets]\npath="/pets"\nschemas = "s.json"\n')
    with pytest.raises(ConfigurationError, match=r"expected a table: \[channels\.pets\.schemas\]"):
        load_settings(config)


@pytest.mark.server
def test_no_validator_is_imported_without_schemas() -> None:
    code = (
        "import sys; from broadcaster.app import create_app; from broadcaster import Publisher\n"
        "create_app(); Publisher('redis://localhost')\n"
        "assert 'jsonschema' not in sys.modules and 'referencing' not in sys.modules"
    )
    environment = {"BROADCASTER_REDIS_URL": "redis://localhost"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
