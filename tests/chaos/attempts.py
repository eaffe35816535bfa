"""Holds what clients of runs have against what was published. Pure.

Of each run, the log must have one end, and every attempt the beginning of one answer. A client must
have the end that the run has, and the text of its last attempt: half an answer is never a success.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from tests.chaos.checker import Fault, Finding
from tests.chaos.speech import said, whole

ENDS = frozenset({"complete", "failed", "stopped"})
# What the record says of a run that no worker took. Its last event is that of a failure.
_EXPIRED = "expired"


@dataclass
class Published:
    """What the log has of one run.

    Attributes:
        texts: of each attempt that has begun anew, the first one included.
        ends: the types of its last events, of which there must be one.
        late: events after its end.
        state: what its record says in the end.
    """

    texts: list[str] = field(default_factory=lambda: [""])
    ends: list[str] = field(default_factory=list)
    late: int = 0
    state: str = ""


@dataclass(frozen=True)
class Heard:
    """What one client has of a run in the end.

    Attributes:
        client: its name, which begins with its kind.
        run: that it follows.
        end: how the answer has ended for it; empty if it has not.
        text: that it shows.
        wrong: what it has noticed itself.
    """

    client: str
    run: str
    end: str
    text: str
    wrong: tuple[str, ...] = ()


def published(events: Iterable[tuple[str, str, str]]) -> dict[str, Published]:
    """Return what a log has of each run.

    Args:
        events: the type, the key and the data of each event, in order.
    """
    runs: dict[str, Published] = {}
    for type_, run, data in events:
        found = runs.setdefault(run, Published())
        found.late += bool(found.ends)
        if type_ in ENDS:
            found.ends.append(type_)
        elif type_ == "stream.restart":
            found.texts.append("")
        else:
            found.texts[-1] += data
    return runs


def judge(runs: Mapping[str, Published], clients: Iterable[Heard], tokens: int) -> list[Finding]:
    """Return what is wrong.

    Args:
        runs: that were published, by their ids.
        clients: what they have.
        tokens: of a whole answer.
    """
    findings = [
        Finding(fault, run, "", None, text, 0)
        for run, one in runs.items()
        for fault, text in _of_run(run, one, tokens)
    ]
    for client in clients:
        about = runs.get(client.run, Published())
        findings += [
            Finding(fault, client.client, client.run, None, text, 0)
            for fault, text in _of_client(client, about)
        ]
    return findings


def _of_run(run: str, found: Published, tokens: int) -> Iterator[tuple[Fault, str]]:
    if not found.ends:
        yield Fault.LOST, "it has no end"
    if len(found.ends) > 1:
        yield Fault.DUPLICATE, f"it has several ends: {found.ends}"
    if found.late:
        yield Fault.PHANTOM, f"{found.late} events after its end"
    said_to_be = "failed" if found.state == _EXPIRED else found.state
    if found.ends and said_to_be != found.ends[0]:
        yield Fault.WRONG, f"its record says {found.state!r}, and its end is {found.ends[0]}"
    if mixed := [text[-60:] for text in found.texts if said(run, text) is None]:
        yield Fault.WRONG, f"a text of several attempts was published: …{mixed[0]}"
    last = said(run, found.texts[-1])
    if last and "complete" in found.ends and found.texts[-1] != whole(run, last.attempt, tokens):
        yield Fault.LOST, f"it is complete with {last.tokens} of {tokens} tokens"


def _of_client(client: Heard, run: Published) -> Iterator[tuple[Fault, str]]:
    for wrong in client.wrong:
        yield Fault.FATAL, wrong
    if not client.end:
        yield Fault.LOST, f"it knows no end, and the run has {run.ends}"
        return
    if client.end not in run.ends:
        yield Fault.PHANTOM, f"it knows the end {client.end}, and the run has {run.ends}"
    right = run.texts[-1]
    if client.text == right:
        return
    if said(client.run, client.text) is None:
        yield Fault.WRONG, f"{client.end} with a text of several attempts: …{client.text[-60:]}"
    elif right.startswith(client.text):
        yield Fault.LOST, f"{client.end} with {len(client.text)} of {len(right)} characters"
    else:
        yield Fault.REORDERED, f"{client.end} with the text of an earlier attempt"
