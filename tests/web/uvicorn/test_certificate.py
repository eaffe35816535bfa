"""A certificate is renewed without an end of streams, and one that can't work is refused."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from broadcaster import ConfigurationError, Publisher
from broadcaster.web.uvicorn.certificate import Certificate
from tests.files import UNUSABLE, Unusable
from tests.nodes import Running
from tests.tls import OPENSSL, Authority, Files, opened
from tests.wait import until

pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(not OPENSSL, reason="there is no openssl"),
]

LIVE = b"stream.live"


async def test_a_new_certificate_is_used_without_an_end_of_streams(
    secure_hub: Running,
    files: Files,
    trust: ssl.SSLContext,
    authorities: tuple[Authority, Authority],
    publisher: Publisher,
) -> None:
    stream = await opened(secure_hub, trust)
    await stream.until(LIVE)
    trust_new = files.use(authorities[1])

    async def is_new() -> bool:
        try:
            await opened(secure_hub, trust_new, "/healthz")
        except ssl.SSLCertVerificationError:
            return False
        return True

    await until(is_new)
    with pytest.raises(ssl.SSLCertVerificationError):
        await opened(secure_hub, trust, "/healthz")
    await publisher.publish("inventory", data="x")
    assert await stream.told(1) == ["x"]


def test_a_new_certificate_that_cannot_work_leaves_the_old_one_and_is_logged_once(
    files: Files, authorities: tuple[Authority, Authority], caplog: pytest.LogCaptureFixture
) -> None:
    files.use(authorities[0])
    certificate = Certificate(str(files.certificate), str(files.key))
    old = certificate.context
    shutil.copy(authorities[1].directory / "server.crt", files.certificate)
    certificate.look()
    assert not caplog.records  # perhaps its key is just being written
    for _ in range(3):
        certificate.look()
    assert certificate.context is old
    (record,) = caplog.records
    assert "the old one stays: tls_certificate: the key does not belong" in record.getMessage()
    files.certificate.unlink()
    for _ in range(3):
        certificate.look()
    assert certificate.context is old
    assert str(files.certificate) in caplog.records[-1].getMessage()
    files.use(authorities[1])
    for _ in range(2):
        certificate.look()
    assert certificate.context is not old


@UNUSABLE
def test_what_is_no_file_leaves_the_old_one_and_is_logged_once(
    files: Files,
    authorities: tuple[Authority, Authority],
    unusable: Unusable,
    caplog: pytest.LogCaptureFixture,
) -> None:
    files.use(authorities[0])
    certificate = Certificate(str(files.certificate), str(files.key))
    old = certificate.context
    unusable.replace(files.key)
    for _ in range(4):
        with unusable.met():
            certificate.look()
    assert certificate.context is old
    (record,) = caplog.records
    assert unusable.is_why(record.getMessage())
    assert str(files.key.parent) in record.getMessage()


@UNUSABLE
def test_what_is_no_file_is_an_error_at_the_start(
    files: Files, authorities: tuple[Authority, Authority], unusable: Unusable
) -> None:
    files.use(authorities[0])
    unusable.replace(files.certificate)
    said = f"tls_certificate: .*{unusable.why}"
    with unusable.met(), pytest.raises(ConfigurationError, match=said):
        Certificate(str(files.certificate), str(files.key))


def test_a_certificate_that_cannot_work_is_an_error_with_its_reason(
    files: Files, tmp_path: Path, authorities: tuple[Authority, Authority]
) -> None:
    files.use(authorities[0])
    locked = tmp_path / "locked.key"
    assert OPENSSL
    encrypt = (OPENSSL, "ec", "-aes256", "-passout", "pass:x", "-in", files.key, "-out", locked)
    subprocess.run(encrypt, check=True, capture_output=True)
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    good = str(files.certificate)
    for certificate, key, said in (
        (str(tmp_path / "none"), "", "none"),
        (good, str(tmp_path / "none"), "none"),
        (good, "", "a certificate and a key in PEM"),
        (str(empty), "", "a certificate and a key in PEM"),
        (good, str(authorities[1].directory / "server.key"), "does not belong"),
        (good, str(locked), "passphrase"),
    ):
        with pytest.raises(ConfigurationError, match=f"tls_certificate: .*{said}"):
            Certificate(certificate, key)
    Certificate(str(authorities[0].directory / "server.pem"))  # both in one file
