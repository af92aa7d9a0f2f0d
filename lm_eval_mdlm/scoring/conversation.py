"""The pipes between the evaluator and one judge."""

import json
import os
import selectors
import time
from typing import Any


_CHUNK = 1 << 16
_MAX_REPORT_BYTES = 1 << 16


class Conversation:
    """The evaluator's ends: the job goes out once the judge reports the confinement; report and output come in."""

    def __init__(self, job: dict[str, Any], output_bytes: int) -> None:
        """Open the pipes."""
        self._rest = memoryview(json.dumps(job).encode())
        self._output_bytes = output_bytes
        self.report, self.output = bytearray(), bytearray()
        job_source, self._job_sink = os.pipe()
        self._report_source, report_sink = os.pipe()
        self._output_source, output_sink = os.pipe()
        self.far_ends = [job_source, report_sink, output_sink]
        self._open = {self._job_sink, self._report_source, self._output_source}
        os.set_blocking(self._job_sink, False)

    def close_far_ends(self) -> None:
        """Once the judge has them."""
        for descriptor in self.far_ends:
            os.close(descriptor)

    def close(self) -> None:
        """Close what is still open."""
        for descriptor in self._open:
            os.close(descriptor)
        self._open = set()

    def run(self, seconds: float) -> bool:
        """Talk until the judge and its program have closed their ends; False if the time is up before."""
        deadline = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self._report_source, selectors.EVENT_READ)
            selector.register(self._output_source, selectors.EVENT_READ)
            while {self._report_source, self._output_source} & self._open:
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                for key, _ in selector.select(left):
                    self._advance(selector, key.fd)
        return True

    def _advance(self, selector: selectors.BaseSelector, descriptor: int) -> None:
        if descriptor == self._job_sink:
            self._send_job(selector)
            return
        chunk = os.read(descriptor, _CHUNK)
        kept, limit = (
            (self.report, _MAX_REPORT_BYTES) if descriptor == self._report_source else (self.output, self._output_bytes)
        )
        before = len(kept)
        kept += chunk[: max(0, limit - before)]
        if not chunk:
            self._drop(selector, descriptor)
        elif kept is self.report and b"\n" not in self.report[:before] and b"\n" in self.report:
            selector.register(self._job_sink, selectors.EVENT_WRITE)

    def _send_job(self, selector: selectors.BaseSelector) -> None:
        try:
            self._rest = self._rest[os.write(self._job_sink, self._rest[:_CHUNK]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._rest = self._rest[:0]
        if not self._rest:
            self._drop(selector, self._job_sink)

    def _drop(self, selector: selectors.BaseSelector, descriptor: int) -> None:
        selector.unregister(descriptor)
        os.close(descriptor)
        self._open.discard(descriptor)
