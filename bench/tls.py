"""What TLS at the node costs: `python -m bench.tls [--clients N]`, which needs openssl.

One node speaks TLS, and the other does not. See `bench.pair`.
"""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from bench.pair import Variant, compare, plain_request


def _pem(directory: Path) -> str:
    pem, key = directory / "node.pem", directory / "node.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
               "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", str(key), "-out", str(pem),
               "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    pem.write_text(pem.read_text() + key.read_text())
    return str(pem)


@click.command()
@click.option("--clients", default=1000, show_default=True, help="of each node.")
@click.option("--rounds", default=3, show_default=True, help="of deliveries.")
def main(clients: int, rounds: int) -> None:
    """Print the figures of both nodes."""
    with TemporaryDirectory(prefix="bench-tls-") as directory:
        pem = _pem(Path(directory))
        trust = ssl.create_default_context(cafile=pem)
        tls = Variant("TLS", {"tls_certificate": pem}, plain_request, trust=trust)
        compare([Variant("plain", {}, plain_request), tls], clients, rounds)


if __name__ == "__main__":
    main()
