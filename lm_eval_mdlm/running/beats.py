"""What a process has heard of the others of its run, and what their silence means.

Times are taken by the clock of the process that listens alone: a beat that has not changed for `SILENCE` seconds means
that its process was killed, has failed, or stands still; a store that has not answered for as long, that the machine of
process 0 is gone. Processes may begin minutes apart: `MEETING` seconds are given to each for its first beats, and to
all for the process group once they are there.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import UsageError


SILENCE = 30.0
"""Seconds. `LM_EVAL_MDLM_SILENCE_S` in the environment sets another number, the same in all processes."""
MEETING = 300.0
"""Seconds. `LM_EVAL_MDLM_MEETING_S` in the environment sets another number, the same in all processes."""
DONE = b"done"
"""In place of a beat: this process has ended in order."""
RELEASED = b"released"
"""In place of a beat: this process knows that process 0, which may keep the store, has ended, and watches no more."""
_YEAR = 365 * 86400.0
"""Seconds. Clocks and sockets take no centuries, nor what is none of their ticks."""
_NO_WAY = "no network between the processes was found in {:.0f} s (GLOO_SOCKET_IFNAME, NCCL_SOCKET_IFNAME name one)"


@dataclass(frozen=True)
class Patience:
    """How long the processes of a run wait for each other, in seconds."""

    silence: float = SILENCE
    """Between two beats of a process that has been heard."""
    meeting: float = MEETING
    """For the first beats of a process, and for the process group."""

    @classmethod
    def of_environment(cls) -> "Patience":
        """As the user has set it.

        Raises:
            UsageError: For a value in the environment that is no number of seconds.
        """
        return cls(_seconds("LM_EVAL_MDLM_SILENCE_S", SILENCE), _seconds("LM_EVAL_MDLM_MEETING_S", MEETING))


def _seconds(name: str, default: float) -> float:
    text = os.environ.get(name, str(default))
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= _YEAR:
        raise UsageError(f"{name} must be a number of seconds from 1 to {_YEAR:.0f}, got {text!r}; unset it.")
    return seconds


class Beats:
    """What this process has heard of the others, and when; knows no store, no threads and no clock.

    Args:
        ranks: Of the others.
        patience: With them.
        now: Present time in seconds, as in all methods, by any clock that does not go back.
        address: Of the store, for people.
    """

    def __init__(self, ranks: Sequence[int], patience: Patience, now: float, address: str) -> None:
        self._patience, self._looked, self._address = patience, now, address
        self._last: dict[int, bytes | None] = dict.fromkeys(ranks)
        self._seen: dict[int, float] = {}
        """When the beat of a process last changed, for those that have come."""
        self._begun = self._came = now
        """When the wait for the first beats began, and when the latest one came."""
        self._heard: float | None = None
        """When the store last answered."""
        self._formed = False

    def hear(self, values: dict[int, bytes], now: float) -> None:
        """The store has answered with these beats."""
        self._heard = now
        for rank, value in values.items():
            # What is found at first may be left from processes that a launcher has started anew.
            if self._last[rank] not in (None, value):
                if rank not in self._seen:
                    self._came = now
                self._seen[rank] = now
            self._last[rank] = value

    def form(self, now: float) -> None:
        """The processes have reached each other, so that all have come."""
        self._formed = True
        self._seen = {**dict.fromkeys(self._last, now), **self._seen}

    def loss(self, now: float) -> str | None:
        """Who is gone, or has not come; None if nobody. To be called several times within the patience."""
        silence, meeting = self._patience.silence, self._patience.meeting
        if now - self._looked > silence / 2:
            # We have stood still ourselves, and the others may have too: suspended, or in a paused virtual machine.
            self._begun = self._came = now
            self._heard = None if self._heard is None else now
            self._seen = dict.fromkeys(self._seen, now)
        self._looked = now
        if self._heard is None:
            if now - self._begun <= meeting:
                return None
            return f"process 0 has not come: nothing has answered at {self._address} for {meeting:.0f} s"
        if now - self._heard > silence:
            return f"process 0 is gone: its store has not answered for {silence:.0f} s"
        if self._silent(silence):
            # Those of one host fall silent together, up to a few seconds.
            return f"{_named(self._silent(silence * 2 / 3))} is gone: no sign of life for {silence:.0f} s"
        missing = [rank for rank in self._last if self._watched(rank) and rank not in self._seen]
        if missing and now - self._begun > meeting:
            return f"{_named(missing)} has not come: no sign of life for {meeting:.0f} s"
        if not missing and not self._formed and now - self._came > meeting:
            return _NO_WAY.format(meeting)
        return None

    def _silent(self, seconds: float) -> list[int]:
        """Those without a beat for so long while the store answered; else the store may be all that is missing."""
        heard = self._heard or 0.0
        return [rank for rank, seen in self._seen.items() if self._watched(rank) and heard - seen > seconds]

    def have_done(self, ranks: Sequence[int]) -> bool:
        """Whether all these have ended in order, or watch no more."""
        return not any(self._watched(rank) for rank in ranks)

    def _watched(self, rank: int) -> bool:
        # A farewell of one that has not come is left from the processes before.
        return rank not in self._seen or self._last[rank] not in (DONE, RELEASED)


def _named(ranks: Sequence[int]) -> str:
    first, *more = sorted(ranks)
    return f"process {first}" + (f", with {', '.join(map(str, more))}," if more else "")
