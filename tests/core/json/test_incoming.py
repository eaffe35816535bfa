"""Events that producers send as JSON: data stays as it is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcaster.core.entry import encode
from broadcaster.core.json import incoming
from broadcaster.core.json.incoming import Incoming, parse, parse_each, plain, publications
from broadcaster.errors import InvalidEventError
from tests.saying import saying

EXPECTED = 'expected an object like {"type": "stock-change", "key": "019b", "data": {"n": 1}}'


@pytest.mark.parametrize(
    "data",
    [
        "12345678901234567890123", "1.10", "1e400", "-0", "-0.0", "1E+05", "0.1000000000000000055",
        '{"a": 1.10, "a": 2,  "b":[1e400]}', r'{"\u00e9":"\ud83d\ude00 \/ \ud800"}', "null", "true",
        "[ ]", "{ }", "[1 ,\t2]", "9" * 5_000, '[{"data":"}"},"{"]', '{"id":"x","type":null}',
    ],
)  # fmt: skip
def test_data_goes_out_as_it_is_written(data: str) -> None:
    for line in (f'{{"data":{data}}}', f' {{ "id" : "1-0" , "data" : {data} , "key":"k" }} \r'):
        assert parse(line.encode()).data == data


TEXTS = st.text(max_size=6) | st.sampled_from(
    ["", "t", "}", '"', "\\", "\n", "\x7f", "é", "\ud800"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(["type", "key", "id", "data", "data", "other"])


def outcome(read: Callable[[], Incoming]) -> Any:
    """The event, or the kind of the error."""
    try:
        return read()
    except (InvalidEventError, json.JSONDecodeError) as error:
        return type(error)


@given(
    fields=st.lists(st.tuples(NAMES, VALUES), max_size=5),
    space=st.sampled_from(["", " ", "\t"]),
    ascii_only=st.booleans(),
    cut=st.integers(0, 3),
)
def test_a_line_in_the_usual_form_is_read_as_any_other(
    fields: list[tuple[str, Any]], space: str, ascii_only: bool, cut: int
) -> None:
    """An event of an array is read in the slow way, whatever its form."""
    pairs = [
        f'"{name}":{space}{json.dumps(value, ensure_ascii=ascii_only)}' for name, value in fields
    ]
    line = ("{" + f",{space}".join(pairs) + "}")[: -cut or None]
    body = line.encode(errors="surrogatepass")
    assert outcome(lambda: parse(body)) == outcome(lambda: next(parse_each(body, plain)))


def test_a_line_in_the_usual_form_is_one_value_behind_the_others() -> None:
    line = b'{"type":"t", "key": "k","id":"i","data": [1.10 , "}"] }'
    assert parse(line) == Incoming("t", "k", '[1.10 , "}"]', "i")


def test_a_line_in_the_usual_form_is_read_in_the_short_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(incoming, "_object", lambda *_: pytest.fail("it takes seven times as long"))
    assert parse(b'{"type":"t","key":"k","data":{"n":1.0}}').data == '{"n":1.0}'
    assert parse(b'{"data": "x"}').data == "x"


def test_a_string_goes_out_as_the_text_in_it() -> None:
    line = r'{"type":"t","key":"k","data":"two\nlines \u00e9 \"quoted\"","id":null}'
    assert parse(line.encode()) == Incoming("t", "k", 'two\nlines é "quoted"')
    assert parse(b'{"type":null,"key":null,"data":1}') == Incoming("message", "", "1")
    assert parse(b'{"type":"","data":""}') == Incoming("message", "", "")


@pytest.mark.parametrize(
    "line",
    ["{", "{1:2}", '{"data":1,}', '{"data":1}}', '{"data":1} x', '{"data" 1}', '{"data":01}',
     '{"data":1.}', '{"data":.5}', '{"data":+1}', "{'data':1}", '{"data":"a\tb"}', "nope",
     '{"data":[1}', '\ufeff{"data":1}'],
)  # fmt: skip
def test_what_is_not_json_is_refused(line: str) -> None:
    with pytest.raises(json.JSONDecodeError):
        parse(line.encode())


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{1:2}", "Expecting a name in double quotes: line 1 column 3 (char 2)"),
        ('{"data" 1}', "Expecting ':': line 1 column 9 (char 8)"),
        ('{"data":1 X}', "Expecting ',' or '}': line 1 column 11 (char 10)"),
        ('{"data":1}}', "Extra data: line 1 column 11 (char 10)"),
        ('{"data":1}X', "Extra data: line 1 column 11 (char 10)"),
        ('X{"data":1}', "Expecting value: line 1 column 1 (char 0)"),
    ],
)
def test_what_is_not_json_is_refused_with_what_is_expected_where(line: str, said: str) -> None:
    with saying(json.JSONDecodeError, said):
        parse(line.encode())


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"data":NaN}', "NaN is no value of JSON"),
        ('{"data":[-Infinity]}', "-Infinity is no value of JSON"),
        ('{"data":1,"data":2}', "'data' occurs twice"),
        ('{"type":"a","type":"b","data":2}', "'type' occurs twice"),
        ('{"type":0,"data":1}', "type must be a text, not 0"),
        ('{"type":false,"data":1}', "type must be a text, not false"),
        ('{"key":[],"data":1}', "key must be a text, not []"),
        (f'{{"key":{"1" * 65},"data":1}}', f"key must be a text, not {'1' * 64}"),
        ('{"type":"t"}', EXPECTED),
        ('{"data":1,"dta":2}', EXPECTED),
        ("[1]", EXPECTED),
        ("1", EXPECTED),
        ("{}", EXPECTED),
        ('{"data":' + "[" * 100_000 + "]" * 100_000 + "}", "it is nested too deep"),
    ],
)
def test_what_is_no_event_is_refused(line: str, said: str) -> None:
    with saying(InvalidEventError, said):
        parse(line.encode())


def test_what_is_not_unicode_is_refused() -> None:
    with saying(InvalidEventError, "it is not UTF-8"):
        parse(b'{"data":"\xff"}')
    with pytest.raises(InvalidEventError, match="UTF-8"):
        encode(*parse(rb'{"data":"\ud800"}')[:3])


def each(body: str) -> list[Incoming]:
    return list(parse_each(body.encode(), plain))


def test_a_body_is_one_event_or_an_array() -> None:
    assert each(' {"data": 1.10} ') == [Incoming("message", "", "1.10")]
    assert each('[ {"data":1} ,\n{"data":[2.50],"key":"k","id":"x"} ]') == [
        Incoming("message", "", "1"),
        Incoming("message", "k", "[2.50]", "x"),
    ]
    assert each("[ ]") == []


@pytest.mark.parametrize(
    "body",
    ["[", '[{"data":1}', '[{"data":1},]', '[{"data":1} {"data":2}]', '[{"data":1}] x', "[,]"],
)
def test_half_an_array_is_refused(body: str) -> None:
    with pytest.raises(json.JSONDecodeError):
        each(body)


def test_only_the_space_of_json_is_passed_over() -> None:
    """Python knows more of it, such as the space that does not break, and the form feed."""
    for space in ("\u00a0", "\f"):
        for body in (f'{space}{{"data":1}}', f'{{"data":1}}{space}', f'{{"data":1{space}}}'):
            with pytest.raises(json.JSONDecodeError):
                each(body)
            with pytest.raises(json.JSONDecodeError):
                parse(body.encode())


def test_half_an_array_is_refused_with_what_is_expected() -> None:
    with saying(json.JSONDecodeError, "Expecting ',' or ']': line 1 column 13 (char 12)"):
        each('[{"data":1} X')


def test_the_event_of_an_array_that_is_none_is_named() -> None:
    with pytest.raises(InvalidEventError, match="event 2: expected an object like"):
        each('[{"data":1},{"n":2},{"data":3}]')
    with pytest.raises(InvalidEventError, match="event 1: expected an object like"):
        each("[1]")
    with pytest.raises(InvalidEventError, match="nested too deep"):
        each("[" * 100_000)


def test_an_event_with_an_id_is_a_publication_of_its_own_and_the_order_stays() -> None:
    events = [Incoming("t", "7", str(n), id_) for n, id_ in enumerate(["", "", "a", "b", ""])]
    found = [(one.key, [data for *_, data in one.events]) for one in publications("pets", events)]
    assert found == [("", ["0", "1"]), ("id:a", ["2"]), ("id:b", ["3"]), ("", ["4"])]
    assert list(publications("pets", [])) == []
