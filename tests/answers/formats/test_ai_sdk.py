from __future__ import annotations

import subprocess
import sys

import pytest

from broadcaster.answers.formats import format_of
from broadcaster.errors import ConfigurationError


def sent(*events: tuple[str, str]) -> list[str]:
    made = format_of("ai-sdk")
    body = made.begin("7-1", 1_000) + b"".join(made.event(*event) for event in events)
    blocks = body.decode().split("\n\n")
    assert blocks.pop() == ""
    return [block.removeprefix("data: ") for block in blocks]


START = '{"type":"start","messageId":"7-1"}'


def test_a_text_begins_goes_on_and_ends() -> None:
    assert sent(("text", 'a"\n'), ("other", "x"), ("text", "b"), ("complete", "{}")) == [
        START,
        '{"type":"text-start","id":"0"}',
        '{"type":"text-delta","id":"0","delta":"a\\"\\n"}',
        '{"type":"text-delta","id":"0","delta":"b"}',
        '{"type":"text-end","id":"0"}',
        '{"type":"finish","finishReason":"stop"}',
        "[DONE]",
    ]


@pytest.mark.parametrize(
    ("event", "last"),
    [
        (("complete", "{}"), ['{"type":"finish","finishReason":"stop"}']),
        (("failed", '{"reason":"worker"}'), ['{"type":"error","errorText":"worker"}']),
        (("stopped", "{}"), ['{"type":"abort"}', '{"type":"finish","finishReason":"other"}']),
    ],
)
def test_the_ends(event: tuple[str, str], last: list[str]) -> None:
    assert sent(event) == [START, *last, "[DONE]"]


def test_no_format_is_loaded_before_it_is_used() -> None:
    with pytest.raises(ConfigurationError, match="ai-sdk"):
        format_of("ai")
    shown = "import sys; import broadcaster.answers.formats; print('ai_sdk' in str(sys.modules))"
    done = subprocess.run([sys.executable, "-c", shown], capture_output=True, check=True)
    assert done.stdout.split() == [b"False"]
