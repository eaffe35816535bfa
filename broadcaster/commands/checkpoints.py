"""The check of `broadcaster check` for the checkpoint of a stream with a state."""

from __future__ import annotations

from broadcaster.backend.probe import Probe
from broadcaster.commands.finding import Finding
from broadcaster.core.shards import in_slot_of

_LATE_S = 5.0
_RUN = "let `broadcaster fold` run, and see its log"


def found(probe: Probe, stream: str, redis_key: str, rules: str) -> Finding:
    """Check that nodes can load the state of a stream, that it is whole, and that it is not late.

    Args:
        probe: asks Redis.
        stream: its name.
        redis_key: of the stream.
        rules: of its state, as a mark names them.
    """
    subject = f"state of {stream}"
    if refused := probe.why_not_load(redis_key):
        advice = f"ACL SETUSER … +hget +hmget +hscan %R~{in_slot_of(redis_key, 'state')}"
        return Finding("problem", subject, f"nodes can't load it: {refused}", advice)
    mark = probe.mark(redis_key)
    if mark is None or mark.position is None:
        text = "there is no checkpoint, so it is that of the entries that Redis retains"
        return Finding("warning", subject, text, _RUN)
    if mark.rules != rules:
        return Finding("warning", subject, "its checkpoint is of other rules", _RUN)
    if (waiting_s := probe.waiting_s(redis_key, mark.position)) > _LATE_S:
        text = f"its checkpoint ends at {mark.position}, and is {waiting_s:.0f} s behind"
        return Finding("warning", subject, text, _RUN)
    if mark.since is not None:
        text = f"it is whole since {mark.since} only: earlier entries were trimmed unfolded"
        return Finding("warning", subject, text, "publish the newest value of each key once")
    return Finding("ok", subject, f"whole, its checkpoint ends at {mark.position}")
