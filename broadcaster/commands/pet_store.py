"""Finds the pet store: the package of its workers, and the JSON Schemas of its events."""

from __future__ import annotations

from pathlib import Path

_BESIDE = Path(__file__).parents[2]


def package() -> str:
    """Return the package of the workers: `broadcaster_petstore` if installed, else `workers`.

    It looks only beside this package. An editable install leaves a copy of the workers among the
    installed packages, and that copy may be older than the checkout.
    """
    installed = _BESIDE / "broadcaster_petstore"
    return installed.name if installed.is_dir() else "workers"


def schemas(channel: str) -> dict[str, str]:
    """Return the file with the JSON Schema of each event type of a channel."""
    folder = _BESIDE / package() / "schemas" / channel
    return {file.stem: str(file) for file in sorted(folder.glob("*.json"))}
