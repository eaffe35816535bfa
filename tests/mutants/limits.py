"""Mutants of what a node lets in: TLS, limits, and the headers of its answers."""

from __future__ import annotations

from tests.mutants import Mutant

_TLS = "broadcaster/web/uvicorn/tls.py"
_TLS_TESTS = "tests/web/uvicorn/test_tls.py::"

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "tls: a certificate is read while its files are being written",
        "broadcaster/web/uvicorn/certificate.py",
        "if stamp == self._loaded or not is_stable:",
        "if stamp == self._loaded:",
        (
            "tests/web/uvicorn/test_certificate.py::"
            "test_a_new_certificate_that_cannot_work_leaves_the_old_one_and_is_logged_once",
        ),
    ),
    Mutant(
        "tls: of what is larger than a record only the first is sent",
        _TLS,
        "        if sent < len(data):",
        "        if sent < 0:",
        (_TLS_TESTS + "test_a_stream_over_tls_has_the_transport_sink_and_resumes",),
    ),
    Mutant(
        "tls: an answer ends without a goodbye",
        _TLS,
        "            self._tls.unwrap()",
        "            pass",
        (_TLS_TESTS + "test_a_request_that_is_refused_over_tls_is_answered",),
    ),
    Mutant(
        "tls: a client that leaves within the handshake keeps its place",
        _TLS,
        "if waiting := self._leave():\n            waiting.lobby.meters.refused[Refusal.TLS]",
        "if waiting := self._waiting:\n            waiting.lobby.meters.refused[Refusal.TLS]",
        (_TLS_TESTS + "test_a_client_that_leaves_within_the_handshake_frees_its_place",),
    ),
    Mutant(
        "headers: an answer has none of those that every answer has",
        "broadcaster/web/problem.py",
        "        self.raw_headers += SAFE",
        "        self.raw_headers += ()",
        ("tests/web/test_showcase.py::test_every_answer_has_the_headers_of_every_answer",),
    ),
    Mutant(
        "headers: other sites may show the page in a frame",
        "broadcaster/web/showcase.py",
        "        \"frame-ancestors 'none'\",\n",
        "",
        (
            "tests/web/test_showcase.py::"
            "test_the_policy_allows_what_is_in_the_page_and_nothing_else",
        ),
    ),
)
