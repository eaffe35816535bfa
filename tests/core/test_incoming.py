"""Events that producers send as JSON: data stays as it is written."""

from __future__ import annotations

import json

import pytest

from broadcaster.core.entry import encode
from broadcaster.core.incoming import Incoming, parse, parse_each, plain, publications
from broadcaster.errors import InvalidEventError


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
        ('{"data":NaN}', "NaN is no value of JSON"),
        ('{"data":[-Infinity]}', "-Infinity is no value of JSON"),
        ('{"data":1,"data":2}', "'data' occurs twice"),
        ('{"type":"a","type":"b","data":2}', "'type' occurs twice"),
        ('{"type":0,"data":1}', "type must be a text, not 0"),
        ('{"type":false,"data":1}', "type must be a text, not false"),
        ('{"key":[],"data":1}', "key must be a text, not []"),
        ('{"type":"t"}', "expected an object like"),
        ('{"data":1,"dta":2}', "expected an object like"),
        ("[1]", "expected an object like"),
        ("1", "expected an object like"),
        ("{}", "expected an object like"),
        ('{"data":' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deep"),
    ],
)
def test_what_is_no_event_is_refused(line: str, said: str) -> None:
    with pytest.raises(InvalidEventError) as caught:
        parse(line.encode())
    assert said in str(caught.value)


def test_what_is_not_unicode_is_refused() -> None:
    with pytest.raises(InvalidEventError, match="UTF-8"):
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
