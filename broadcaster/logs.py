"""The public names for a log of your own: questions, answers and changes.

`broadcaster.Log` is the interface. A log of your own uses these values as `logs.Batch` or
`logs.PageAfter`. They have a module of their own since most users of the package never need them.
No other module of the package imports this one.
"""

from __future__ import annotations

from broadcaster.backend.log import Retained, Status
from broadcaster.core.entry import frame_of
from broadcaster.core.fanout.turns import Reader
from broadcaster.core.history.window import Window
from broadcaster.core.log import (
    Answer,
    AtOrBefore,
    Batch,
    Beginning,
    Change,
    Entry,
    Exists,
    Known,
    PageAfter,
    Past,
    Question,
    Restart,
    Rewind,
)
from broadcaster.core.run import Standing

__all__ = [
    "Answer",
    "AtOrBefore",
    "Batch",
    "Beginning",
    "Change",
    "Entry",
    "Exists",
    "Known",
    "PageAfter",
    "Past",
    "Question",
    "Reader",
    "Restart",
    "Retained",
    "Rewind",
    "Standing",
    "Status",
    "Window",
    "frame_of",
]
