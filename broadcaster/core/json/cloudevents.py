"""Reads events in the JSON format of CloudEvents, as far as the hub's events have the same. Pure.

`type` is the type, `subject` the key. `source` and `id` together name the event. Other attributes
have no place in an event of the hub, and are left out.
https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md
"""

from __future__ import annotations

import re

from broadcaster.core.json.incoming import Fields, Incoming, text_of
from broadcaster.errors import InvalidEventError

_VERSION = "1.0"
_REQUIRED = ("specversion", "id", "source", "type")
# "a media type subtype equals `json` or ends with a `+json` format extension"
_JSON = re.compile(r"[^/;]+/(?:[^;]*\+)?json\s*(?:;.*)?", re.IGNORECASE)


def cloud_event(fields: Fields) -> Incoming:
    """Return the event of a CloudEvent's object.

    Raises:
        InvalidEventError: it is no CloudEvent of version 1.0, or its data is binary.
    """
    named = {name: text_of(fields, name) for name in (*_REQUIRED, "subject", "datacontenttype")}
    if missing := [name for name in _REQUIRED if not named[name]]:
        raise InvalidEventError(f"a CloudEvent has {', '.join(_REQUIRED)}: {missing[0]} is missing")
    if named["specversion"] != _VERSION:
        raise InvalidEventError(f"the specversion of a CloudEvent is {_VERSION}")
    if "data_base64" in fields:
        raise InvalidEventError("data is text: data_base64 can't be published")
    value, raw = fields.get("data", (None, "null"))
    content = named["datacontenttype"]
    is_text = bool(content) and not _JSON.fullmatch(content) and raw.startswith('"')
    # With the length, since nothing keeps a space out of either.
    source_and_id = f"{len(named['source'])} {named['source']} {named['id']}"
    return Incoming(named["type"], named["subject"], value if is_text else raw, source_and_id)
