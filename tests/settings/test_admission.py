"""Settings about connections that can't work together are refused."""

from __future__ import annotations

import pytest

from broadcaster import ConfigurationError, load_settings


def test_a_key_needs_its_certificate() -> None:
    with pytest.raises(ConfigurationError, match="tls_key needs tls_certificate"):
        load_settings(tls_key="/run/tls/key.pem")
    assert load_settings(tls_key="k", tls_certificate="c").tls_key == "k"
