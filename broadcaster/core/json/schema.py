"""JSON Schemas: whether the data of an event fits one, and where it does not. Pure.

jsonschema takes a tenth of a second to be imported. So a module imports this one only when a
channel has schemas. Numbers are compared digit by digit: as floats, 0.3 is no multiple of 0.1.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from decimal import Context, Decimal, DecimalException
from typing import Any, NoReturn

from jsonschema import validators
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.protocols import Validator
from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]  # it has none
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import specification_with

from broadcaster.errors import InvalidEventError

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_VALIDATORS: Any = validators  # which has no types that say enough
_INT_DIGITS = 400  # int() takes quadratic time, and refuses more than 4,300 digits
_MOST_DIGITS = 10_000
_SHOWN_CHARS = 200


class Schema:
    """A JSON Schema, of Draft 2020-12 unless it names another.

    Attributes:
        text: as it is in its file.
    """

    def __init__(self, content: bytes) -> None:
        """Read a schema. Nothing that it refers to is fetched.

        Args:
            content: the JSON text of the schema.

        Raises:
            ValueError: it is none, or refers to what is not in it. The text says where and why.
        """
        try:
            self.text = content.decode("utf-8-sig")
            plain, exact = json.loads(self.text), _exact(self.text)
            if not isinstance(plain, dict | bool):
                raise ValueError("a JSON Schema is an object, true or false")
            self._validator = _validator(plain, exact)
        except RecursionError as error:
            raise ValueError("it is nested too deep, or refers to itself") from error
        except UnicodeDecodeError as error:
            raise ValueError("it is not UTF-8") from error
        except (json.JSONDecodeError, DecimalException) as error:
            raise ValueError(f"it is not JSON: {error}") from error

    def check(self, text: str) -> None:
        """Check that the data of an event fits.

        Args:
            text: the data, as clients get it.

        Raises:
            InvalidEventError: it does not, or is not JSON. `pointer` says where.
        """
        try:
            error = next(iter(self._validator.iter_errors(_exact(text))), None)
        except json.JSONDecodeError as error:
            text = f"the data is not JSON, and its type has a schema: {error}"
            raise InvalidEventError(text, "") from None
        except DecimalException:
            raise InvalidEventError("a number in the data has too large an exponent", "") from None
        except RecursionError:
            raise InvalidEventError("the data is nested too deep", "") from None
        if error is not None:
            raise _misfit(error)


def _validator(plain: Any, exact: Any) -> Validator:
    """Return what validates, after a check of the schema itself."""
    named = plain.get("$schema", _DIALECT) if isinstance(plain, dict) else _DIALECT
    known = isinstance(named, str)
    standard = known and _VALIDATORS.validator_for({"$schema": named}, default=None)
    if not standard:
        raise ValueError(f"$schema is no dialect that is known: {_shown(named)}")
    try:
        standard.check_schema(plain)
    except SchemaError as error:
        raise ValueError(f"{_pointer(error.absolute_path) or 'it'}: {_why(error)}") from error
    if isinstance(exact, dict):
        # A reference to the root would else be checked by the standard's own class.
        exact.pop("$schema", None)
    _check_references(exact, named)
    # With a registry of our own, nothing is fetched.
    made: Validator = _exactly(standard)(exact, registry=Registry())
    made.is_valid(None)  # a schema that is a reference to itself has no end
    return made


def _check_references(exact: Any, dialect: str) -> None:
    """Raise a ValueError if a part of a schema refers to what is neither in it nor standard."""
    specification = specification_with(dialect)
    root = specification.create_resource(exact)
    parts = [(exact, REGISTRY.resolver_with_root(root))]
    while parts:
        part, resolver = parts.pop()
        if not isinstance(part, dict):
            continue
        if "$schema" in part:
            raise ValueError("only the root of a schema can have a $schema")
        for name in _REFERENCES:
            try:
                if name in part:
                    resolver.lookup(part[name])
            except Unresolvable as error:
                what = _shown(part[name])
                raise ValueError(
                    f"{name}: {what} is not in the file, and is not fetched"
                ) from error
        for inner in specification.subresources_of(part):
            within = resolver.in_subresource(specification.create_resource(inner))
            parts.append((inner, within))


def _exactly(standard: Any) -> Any:
    """Return a validator's class for numbers with all of their digits."""
    has_whole_floats = standard.TYPE_CHECKER.is_type(1.0, "integer")  # from Draft 6 on

    def is_integer(_: Any, value: Any) -> bool:
        if isinstance(value, Decimal) and has_whole_floats:
            return value == value.to_integral_value()
        return isinstance(value, int) and not isinstance(value, bool)

    types = standard.TYPE_CHECKER.redefine("integer", is_integer)
    ours = {"multipleOf": _multiple_of, "uniqueItems": _unique_items}
    known = {name: each for name, each in ours.items() if name in standard.VALIDATORS}
    return _VALIDATORS.extend(standard, known, type_checker=types)


def _multiple_of(validator: Validator, of: Any, value: Any, _: Any) -> Iterator[ValidationError]:
    if not validator.is_type(value, "number"):
        return
    try:
        fails = Context(prec=_MOST_DIGITS).remainder(Decimal(value), Decimal(of)) != 0
    except DecimalException:  # the quotient has too many digits
        fails = True
    if fails:
        yield ValidationError("")


def _unique_items(
    validator: Validator, unique: Any, items: Any, _: Any
) -> Iterator[ValidationError]:
    # The standard's own compares each item with all others.
    are_items = unique and validator.is_type(items, "array")
    if are_items and len({_hashable(item) for item in items}) < len(items):
        yield ValidationError("")


def _hashable(value: Any) -> Any:
    """Return what is equal for equal values of JSON: 1 and 1.0 are, 1 and true are not."""
    if isinstance(value, dict):
        return "{", frozenset((name, _hashable(each)) for name, each in value.items())
    if isinstance(value, list):
        return "[", tuple(map(_hashable, value))
    return isinstance(value, bool), value


def _misfit(error: ValidationError) -> InvalidEventError:
    pointer = _pointer(error.absolute_path)
    return InvalidEventError(f"the data{pointer and ' at '}{pointer}: {_why(error)}", pointer)


def _why(error: Any) -> str:
    """Return what a value does not fit, without the value, which may be large and private."""
    keyword, wanted, value = str(error.validator), error.validator_value, error.instance
    if error.validator is None:
        return "its schema allows nothing here"
    if keyword == "required" and isinstance(wanted, list):
        missing = [name for name in wanted if name not in value]
        return f"{_shown(missing[0])} is missing"
    if keyword == "additionalProperties" and wanted is False:
        known, patterns = (
            error.schema.get(name, {}) for name in ("properties", "patternProperties")
        )
        others = [n for n in value if n not in known and not any(re.search(p, n) for p in patterns)]
        return f"there may be no {_shown(others[0])}"
    return f'it does not fit "{keyword}": {_shown(wanted)}'


def _pointer(path: Iterable[Any]) -> str:
    """Return a JSON Pointer. https://www.rfc-editor.org/rfc/rfc6901#section-3"""
    steps = (str(step).replace("~", "~0").replace("/", "~1") for step in path)
    return "".join(f"/{step}" for step in steps)


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=float)
    return text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "…"


def _exact(text: str) -> Any:
    """Return the value of a JSON text. Numbers have all of their digits."""
    return json.loads(text, parse_float=Decimal, parse_int=_whole, parse_constant=_no_constant)


def _whole(text: str) -> int | Decimal:
    return int(text) if len(text) <= _INT_DIGITS else Decimal(text)


def _no_constant(text: str) -> NoReturn:
    raise json.JSONDecodeError(f"{text} is no value of JSON", text, 0)
