from __future__ import annotations

import pytest

from broadcaster.answers.formats import format_for


def sent(*events: tuple[str, str], run: str = "r") -> list[str]:
    made = format_for("ag-ui", "thread", run)
    body = made.begin("7-1", 1_000) + b"".join(made.event(*event) for event in events)
    blocks = body.decode().split("\n\n")
    assert blocks.pop() == ""
    return [block.removeprefix("data: ") for block in blocks]


START = '{"type":"RUN_STARTED","threadId":"thread","runId":"r"}'


def test_a_text_begins_goes_on_and_ends() -> None:
    assert sent(("text", 'a"\n'), ("other", "x"), ("text", "b"), ("complete", "{}")) == [
        START,
        '{"type":"TEXT_MESSAGE_START","messageId":"7-1","role":"assistant"}',
        '{"type":"TEXT_MESSAGE_CONTENT","messageId":"7-1","delta":"a\\"\\n"}',
        '{"type":"TEXT_MESSAGE_CONTENT","messageId":"7-1","delta":"b"}',
        '{"type":"TEXT_MESSAGE_END","messageId":"7-1"}',
        '{"type":"RUN_FINISHED","threadId":"thread","runId":"r"}',
    ]


@pytest.mark.parametrize(
    ("event", "last"),
    [
        (("complete", "{}"), '{"type":"RUN_FINISHED","threadId":"thread","runId":"r"}'),
        (("failed", '{"reason":"worker"}'), '{"type":"RUN_ERROR","message":"worker"}'),
        (
            ("stopped", "{}"),
            '{"type":"RUN_ERROR","message":"the run was stopped","code":"stopped"}',
        ),
    ],
)
def test_the_ends(event: tuple[str, str], last: str) -> None:
    assert sent(event) == [START, last]


def test_a_run_without_a_name_of_its_client_has_its_id() -> None:
    assert sent(run="") == ['{"type":"RUN_STARTED","threadId":"thread","runId":"7-1"}']
