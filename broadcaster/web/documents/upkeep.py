"""The texts of the documents about the routes for operators, probes and metrics. Data only."""

from __future__ import annotations

from broadcaster.web.documents.operation import (
    COUNT,
    NUMBER,
    STRING,
    TEXTS,
    Operation,
    answer,
    described,
    parameter,
    record,
    ref,
)

HEALTHZ = Operation(
    "healthz", "hub", "200 while the process lives",
    {200: answer("It lives.", record({"status": STRING}))},
)  # fmt: skip

_READY = record({"status": STRING, "reasons": TEXTS}, "reasons")
READYZ = Operation(
    "readyz", "hub", "Whether newcomers should come to this node",
    {200: answer("They should.", _READY), 503: answer("They should not, for the reasons.", _READY)},
)  # fmt: skip

METRICS = Operation(
    "metrics", "operators", "Figures for Prometheus",
    {200: answer("The figures, in Prometheus's text format.", STRING, "text/plain")},
    (401,), needs="operators",
)  # fmt: skip

_NODE = record({"clients": COUNT, "lag_s": NUMBER, "problems": TEXTS, "version": STRING}, "version")
NODES = Operation(
    "listNodes", "operators", "All nodes that use the same Redis",
    {
        200: answer(
            "The nodes, by name. If others may be missing, `incomplete` says why.",
            record({
                "nodes": {"type": "object", "additionalProperties": _NODE}, "incomplete": STRING,
            }, "incomplete"),
        )
    },
    (401,), needs="operators",
)  # fmt: skip

_HEALTH = {
    **record({
        "status": {"enum": ["ready", "not ready"]},
        "reasons": TEXTS,
        "clients": COUNT,
        "write_lag_ms": NUMBER,
        "loop_lag_ms": NUMBER,
        "streams": {"type": "object", "additionalProperties": {"type": "object"}},
    })
}  # fmt: skip
HEALTH = Operation(
    "health", "operators", "The state of the node and of each stream",
    {
        200: answer("Nothing is wrong.", _HEALTH),
        503: answer("Something is wrong: see `reasons`.", _HEALTH),
    },
    (401,), "It is stricter than `/readyz`.", needs="operators",
)  # fmt: skip

OPERATIONS = Operation(
    "watchOperations", "operators", "The figures of all nodes, as an event stream",
    {200: answer("A line each second.", STRING, "text/event-stream")},
    (401,), "It is for the page. Its events may change with it.", needs="operators",
)  # fmt: skip

REVOKE = Operation(
    "revoke", "operators", "Revoke the tokens of a subject, or one by its id",
    {
        200: answer(
            "They are revoked.",
            record({
                "revoked": STRING,
                "id": ref("EventId"),
                "replicas": described({"type": ["integer", "null"]}, "how many replicas have it"),
            }),
        )
    },
    (400, 401, 403, 503), parameters=(
        parameter(
            "query", "name", {"type": "string", "minLength": 1, "maxLength": 1024},
            "The subject, or the id of a token.", required=True,
        ),
    ),
    needs="operators",
)  # fmt: skip
