"""Settings about what a node lets in: TLS, and the bounds of connections and requests."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Most = Annotated[int, Field(ge=0)]


class AdmissionSettings(BaseSettings):
    """The part of the settings that decides which connections and requests are taken."""

    tls_certificate: str = Field(
        "",
        description="a PEM file with the node's certificate and the chain above it; "
        "with it, all ports speak TLS",
    )
    tls_key: str = Field(
        "", description="a PEM file with the certificate's key; empty: it is in `tls_certificate`"
    )
    max_connections: Count = Field(
        100_000, description="the most connections; with so many, newcomers come back later"
    )
    max_connections_per_address: Most = Field(
        0,
        description="the most event streams of one address, over all nodes; with so many, "
        "newcomers come back later; 0: no limit",
    )
    max_connections_per_subject: Most = Field(
        0, description="the same for the subject that a policy's grant names; 0: no limit"
    )
    max_new_connections_per_s: float = Field(
        0.0,
        ge=0,
        description="the most new event streams in a second; further newcomers come back later; "
        "0: no limit",
    )
    max_keys: Count = Field(100, description="the most keys of a request; with more it is refused")
    max_channels: Count = Field(
        100, description="the most channels of a request; with more it is refused"
    )
    max_query_bytes: Count = Field(
        32 * 1024, description="the most bytes of a request's query; with more it is refused"
    )
    max_publish_bytes: Count = Field(
        2 * 1024 * 1024,
        description="the most bytes of a body of JSON, or of a line; with more it is refused",
    )
    max_replayed_events_per_min: Most = Field(
        0,
        description="the most past events that one connection is sent in a minute; it waits for "
        "further ones; 0: no limit",
    )
    max_replayed_bytes_per_min: Most = Field(0, description="the same in bytes; 0: no limit")
    max_head_bytes: int = Field(
        64 * 1024,
        ge=1024,
        description="the most bytes of a request's head; with more it is refused",
    )
    max_headers: Count = Field(
        100, description="the most headers of a request; with more it is refused"
    )
    head_timeout_s: Positive = Field(
        10.0,
        description="seconds in which a client must complete the TLS handshake, and as many for "
        "the head of its request",
    )
    keep_alive_s: Positive = Field(
        75.0, description="seconds without a request after which an idle connection is closed"
    )

    @model_validator(mode="after")
    def _has_certificate(self) -> AdmissionSettings:
        if self.tls_key and not self.tls_certificate:
            raise ValueError("tls_key needs tls_certificate")
        return self
