"""What events add up to by the rules in `docs/channels.md`, written from them, not from the hub."""

from __future__ import annotations

from typing import Any, TypeAlias

import orjson

REMOVES = "gone"
"""Events of this type take their key out, in each channel of a scenario."""
APPENDED = "text"
"""The field whose texts are joined."""

Held: TypeAlias = dict[str, Any]
"""What is known of each key. Values are never changed, so that copies may share them."""


def take(held: Held, kind: str, type_: str, data: str) -> None:
    """Fold one event in.

    Args:
        held: what is known so far.
        kind: `last`, `merge` or `append`.
        type_: of the event.
        data: of the event: an object of JSON that names the key.
    """
    event = orjson.loads(data)
    key = event["key"]
    if type_ == REMOVES:
        held.pop(key, None)
    elif kind == "append":
        held[key] = _appended(held.get(key, ()), type_, event)
    else:
        known = held.get(key, {})
        held[key] = known | {type_: data if kind == "last" else _patched(known.get(type_), event)}


def _patched(target: Any, patch: Any) -> Any:
    """As in RFC 7396, section 2."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = _patched(result.get(name), value)
    return result


def _appended(known: tuple[Any, ...], type_: str, event: dict[str, Any]) -> tuple[Any, ...]:
    text = event.pop(APPENDED, None)
    last_type, last_event, last_text = known[-1] if known else ("", None, None)
    if None not in (text, last_text) and (type_, event) == (last_type, last_event):
        return (*known[:-1], (type_, event, last_text + text))
    return (*known, (type_, event, text))
