"""Settings about runs: the answers of channels that are made on demand."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings

from broadcaster.settings.admission import Count, Most, Positive


class RunSettings(BaseSettings):
    """The part of the settings that bounds the runs that clients begin by a POST."""

    max_run_bytes: Count = Field(
        64 * 1024, description="the most bytes of the body of a POST that begins a run"
    )
    run_wait_s: Positive = Field(
        60.0,
        description="seconds in which a worker must take a run, or go on with one whose worker is "
        "gone; after that the run ends",
    )
    run_ttl_s: Positive = Field(
        24 * 3600.0, description="seconds for which the record of a run is kept after its end"
    )
    runs_per_subject: Most = Field(
        0,
        description="the most runs of one subject in a channel that are not over; 0: no limit",
    )
