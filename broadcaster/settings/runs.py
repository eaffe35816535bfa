"""Settings about runs: the answers of channels that are made on demand."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings

from broadcaster.settings.admission import Count, Most, Positive


class RunSettings(BaseSettings):
    """The part of the settings that bounds the runs that clients begin by a POST."""

    max_run_bytes: Count = Field(
        64 * 1024, description="bytes of the body of a request for a run above which it is refused"
    )
    run_wait_s: Positive = Field(
        60.0,
        description="seconds after which a run ends that no worker has taken, or goes on with when "
        "its worker is gone",
    )
    run_ttl_s: Positive = Field(
        24 * 3600.0, description="seconds for which a run that is over says so"
    )
    runs_per_subject: Most = Field(
        0,
        description="runs of one subject that are not over, of a channel, above which it may begin "
        "no other; 0: no limit",
    )
