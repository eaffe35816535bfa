"""Mutants of tokens: which keys count, which claims, which pages, and what a ticket is good for."""

from __future__ import annotations

from tests.mutants import Mutant

_RIGHTS = "tests/core/access/test_rights.py::"
_CLAIMS = "tests/core/access/test_claims.py::"
_PRESENTED = "tests/core/access/test_presented.py::"
_TICKET = "tests/core/access/test_ticket.py::"
_SIGNED = "tests/web/tokens/test_signed.py::"
_SIGNATURES = "tests/web/tokens/test_signatures.py::"
_TICKETS = "tests/web/tokens/test_tickets.py::"
_KEYS = "tests/web/tokens/test_keys.py::"
_SETUP = "tests/web/tokens/test_setup.py::"

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "rights: a subject that is a star may read every key",
        "broadcaster/core/access/rights.py",
        'value in ("", _EVERY)',
        'value == ""',
        (_RIGHTS + "test_a_key_claim_that_can_be_no_key_is_refused",),
    ),
    Mutant(
        "rights: the last colon separates channel and key",
        "broadcaster/core/access/rights.py",
        'text.partition(":")',
        'text.rpartition(":")',
        (_RIGHTS + "test_a_key_is_taken_as_it_is",),
    ),
    Mutant(
        "rights: a claim adds a key to a ticket that is narrowed to other channels",
        "broadcaster/core/access/rights.py",
        "if name in claims and not claim.get(_COMPLETE):",
        "if name in claims:",
        (
            "tests/web/tokens/test_reader.py::"
            "test_a_ticket_that_is_narrowed_has_no_key_that_a_claim_is",
        ),
    ),
    Mutant(
        "claims: an expired token is good",
        "broadcaster/core/access/claims.py",
        "if now_s >= expires_s + leeway_s:",
        "if False:",
        (_CLAIMS + "test_a_wrong_claim_is_refused",),
    ),
    Mutant(
        "claims: a token for another audience is good",
        "broadcaster/core/access/claims.py",
        'if audience not in (audiences or [""]):',
        "if audience and audience not in (audiences or [audience]):",
        (_CLAIMS + "test_a_token_for_no_audience_is_refused_where_one_is_expected",),
    ),
    Mutant(
        "presented: an image of another site brings a cookie that counts",
        "broadcaster/core/access/presented.py",
        "        return site in _OWN_PAGES",
        "        return True",
        (_PRESENTED + "test_a_cookie_that_another_page_sends_is_refused",),
    ),
    Mutant(
        "ticket: it is good for every origin",
        "broadcaster/core/access/ticket.py",
        'return bool((sent or "") == origin)',
        "return True",
        (_TICKET + "test_it_is_good_for_no_other_origin",),
    ),
    Mutant(
        "ticket: an open stream ends with it",
        "broadcaster/core/access/ticket.py",
        '    return {**kept, "exp": until_s}',
        '    return {**kept, "exp": expires_s}',
        (_TICKET + "test_it_opens_streams_until_it_expires_and_they_end_with_the_token",),
    ),
    Mutant(
        "tickets: a secret of tokens signs tickets as it is",
        "broadcaster/web/tokens/tickets.py",
        'derived = blake2b(secret, digest_size=32, person=b"broadcaster.tckt").digest()',
        "derived = secret",
        (_TICKETS + "test_a_token_with_the_same_secret_is_no_ticket_and_the_reverse",),
    ),
    Mutant(
        "signed: the text of a public key is a secret",
        "broadcaster/web/tokens/signed.py",
        'raise ValueError("a public key is no secret") from error',
        "pass",
        (_SIGNED + "test_the_text_of_a_public_key_is_no_secret",),
    ),
    Mutant(
        "signatures: a key of any issuer will do",
        "broadcaster/web/tokens/signatures.py",
        'if issuer.name == token.claims.get("iss", ""):',
        "if True:",
        (_SIGNATURES + "test_a_key_counts_for_its_issuer_alone",),
    ),
    Mutant(
        "signatures: what was good stays good when a key goes",
        "broadcaster/web/tokens/signatures.py",
        "            self._good.clear()\n",
        "",
        (_SIGNATURES + "test_good_tokens_are_remembered_until_a_key_changes",),
    ),
    Mutant(
        "signatures: a token that names no key is tried with all keys",
        "broadcaster/web/tokens/signatures.py",
        "for key in keys[:MOST_TRIED])",
        "for key in keys)",
        (_SIGNATURES + "test_a_token_that_names_no_key_is_tried_with_few",),
    ),
    Mutant(
        "jwks: gzip is decoded without a bound",
        "broadcaster/web/tokens/jwks.py",
        ".decompress(data, _MAX_BYTES + 1)",
        ".decompress(data)",
        ("tests/web/tokens/test_jwks.py::test_few_bytes_of_gzip_do_not_become_many",),
    ),
    Mutant(
        "access: a policy of subjects makes more of a ticket than it is for",
        "broadcaster/web/access/decisions.py",
        "        grant = narrowed(grant, left)\n",
        "        pass\n",
        (_SETUP + "test_a_policy_of_subjects_can_not_make_more_of_a_ticket_than_it_is_for",),
    ),
    Mutant(
        "access: a ticket opens other channels, too",
        "broadcaster/web/access/decisions.py",
        "        caller = replace(caller, claims={})\n",
        "        pass\n",
        (_SETUP + "test_a_policy_of_subjects_can_not_make_more_of_a_ticket_than_it_is_for",),
    ),
    Mutant(
        "wanted: an id with line ends is sent back as it is",
        "broadcaster/core/wanted.py",
        "fits = self.unreadable.isprintable() and",
        "fits = True and",
        (
            "tests/core/test_wanted.py::"
            "test_an_id_that_can_not_be_read_is_given_back_or_another_one_that_can_not",
            "tests/web/test_endpoint.py::test_no_parameter_becomes_a_line_of_the_answer",
        ),
    ),
    Mutant(
        "keys: made-up key ids fetch the keys each time",
        "broadcaster/web/tokens/keys.py",
        "return algorithm in self._algorithms and not recent",
        "return algorithm in self._algorithms",
        (_KEYS + "test_keys_are_fetched_when_one_is_missing_at_a_bounded_rate",),
    ),
    Mutant(
        "by_token: a right to one key is a right to all",
        "broadcaster/core/access/by_token.py",
        "frozenset({EVERY}) if isinstance(allowed, AllKeys) else allowed",
        "frozenset({EVERY})",
        ("tests/core/access/test_by_token.py::test_a_token_grants_what_it_names",),
    ),
    Mutant(
        "reader: a token of any type gives access",
        "broadcaster/web/tokens/reader.py",
        "if found.type not in _TYPES:",
        "if False:",
        ("tests/web/tokens/test_reader.py::test_a_token_of_another_type_gives_no_access",),
    ),
    Mutant(
        "settings: a secret is shown in a message",
        "broadcaster/settings/node.py",
        'given = "…" if name in SECRETS else os.environ.get(variable, "")',
        'given = os.environ.get(variable, "")',
        ("tests/settings/test_tokens.py::test_a_secret_is_in_no_message",),
    ),
    Mutant(
        "shared secret: each node makes its own",
        "broadcaster/backend/shared_secret.py",
        "nx=True",
        "nx=False",
        ("tests/backend/test_shared_secret.py::test_one_that_is_there_is_kept",),
    ),
    Mutant(
        "revocations: a token without a time of issue outlives its revocation",
        "broadcaster/core/access/revocations.py",
        "(issued_s is None or issued_s * 1000 <= at_ms)",
        "(issued_s is not None and issued_s * 1000 <= at_ms)",
        ("tests/core/access/test_revocations.py::test_it_concerns_what_was_issued_before_it",),
    ),
    Mutant(
        "revocations: after a break only what is newer is read",
        "broadcaster/backend/revocations.py",
        "        while self._stream.connections == connection:",
        "        while True:",
        (
            "tests/backend/test_revocations.py::test_a_connection_replaced_in_silence_is_read_from_the_beginning",
        ),
    ),
    Mutant(
        "endpoint: a stream is registered after its revocation",
        "broadcaster/web/door.py",
        "if answer.holder and self._node.revoking.concerns(answer.holder):",
        "if False:",
        ("tests/node/test_revoking.py::test_a_stream_is_not_registered_after_its_revocation",),
    ),
    Mutant(
        "health: a node without revocations is ready",
        "broadcaster/node/health.py",
        "if not self._node.revoking.read.is_set():",
        "if False:",
        ("tests/node/test_revoking.py::test_a_node_that_has_not_read_revocations_is_not_ready",),
    ),
    Mutant(
        "revoking: a revocation is forgotten while a token that it concerns is good",
        "broadcaster/settings/tokens.py",
        "self.max_token_s + 2 * self.leeway_s",
        "self.max_token_s",
        (
            "tests/settings/test_tokens.py::"
            "test_a_revocation_is_kept_as_long_as_any_token_that_it_concerns_is_good",
        ),
    ),
    Mutant(
        "revoking: the subject of a token does not count where the policy names another one",
        "broadcaster/node/revoking.py",
        'return of_grants or concerns(holder.token_subject, "", issued_s)',
        "return of_grants",
        (
            "tests/node/test_revoking.py::"
            "test_a_token_is_revoked_by_its_own_subject_where_a_policy_names_another_one",
        ),
    ),
    Mutant(
        "reader: a revoked token opens another stream",
        "broadcaster/web/tokens/reader.py",
        'raise RefusedTokenError("the token was revoked")',
        "pass",
        ("tests/node/test_revoking.py::test_a_token_is_revoked_by_its_id_and_with_it_its_tickets",),
    ),
    Mutant(
        "redaction: the access log of uvicorn has tickets",
        "broadcaster/app.py",
        "        redact_access_log()\n",
        "        pass\n",
        ("tests/web/test_redaction.py::test_no_log_and_no_answer_has_a_ticket",),
    ),
)
