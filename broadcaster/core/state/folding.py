"""Folds the data of a key's events: JSON objects are patched, and texts are joined. Pure.

* `last`: the newest event per type.
* `merge`: the newest object per type, patched as RFC 7396 says. Data that is no object replaces it.
  https://www.rfc-editor.org/rfc/rfc7396#section-2
* `append`: all events in order. Neighbours of one type that differ only in one field, a text, are
  joined to one event. An event without that text stands as it is.

Numbers keep their digits as they were sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from broadcaster.core.json.jsonobject import objects_of, written
from broadcaster.core.state.texts import Item, appended, value_of
from broadcaster.core.state.values import Rules, Value


def fold(rules: Rules, items: Sequence[Item]) -> tuple[Value, ...]:
    """Return the state of one key.

    Args:
        rules: of its channel.
        items: the values so far, and then the events since, in order.
    """
    if rules.kind == "append":
        return tuple([value_of(rules.append, item) for item in appended(rules.append, items)])
    fold_type = _merged if rules.kind == "merge" else _last
    types = {item.type for item in items}
    if len(types) == 1:
        return (fold_type(items),)
    by_type = ([item for item in items if item.type == type_] for type_ in types)
    return tuple(sorted(map(fold_type, by_type)))


def _last(items: Sequence[Item]) -> Value:
    return value_of("", items[-1])


def _merged(items: Sequence[Item]) -> Value:
    newest = items[-1]
    if len(items) == 1 and isinstance(newest, Value):
        return newest
    every = [item.data for item in items]
    target = None
    for patch in objects_of(every):
        target = None if patch is None else _patched(target, patch)
    data = every[-1] if target is None else written(target)
    return Value(newest.id, newest.type, newest.key, data)


def _patched(target: Any, patch: Any) -> dict[str, Any]:
    """Change an object as a patch says, and return it; a new one if the target is no object."""
    result: dict[str, Any] = target if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        elif type(value) is dict:
            result[name] = _patched(result.get(name), value)
        else:
            result[name] = value
    return result
