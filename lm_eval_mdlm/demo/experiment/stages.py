"""Results of stages on disk: what is there, by the same settings, is not computed again."""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ...errors import UsageError


class Stages:
    """The stages of one base, each a file `NAME.json` that appears when it is done."""

    def __init__(self, folder: Path) -> None:
        """The folder is made if it is not there."""
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def result(
        self, name: str, settings: Mapping[str, Any], compute: Callable[[], Mapping[str, Any]]
    ) -> dict[str, Any]:
        """What the stage found, computed now or before.

        Args:
            name: Of the stage.
            settings: All that its result depends on, as plain values.
            compute: Finds it; may find files of a run that was stopped while it computed.

        Raises:
            UsageError: If the stage was computed with other settings.
        """
        path = self.folder / f"{name}.json"
        wanted = json.loads(json.dumps(settings))
        known = self.known(name)
        if known is not None:
            if known["settings"] != wanted:
                raise UsageError(f"{path} was computed with other settings; name another --out, or remove the folder.")
            found: dict[str, Any] = known["result"]
            return found
        started = time.monotonic()
        result = dict(compute())
        seconds = round(time.monotonic() - started, 1)
        print(f"{name}: {seconds} s {json.dumps(result)}", flush=True)
        text = json.dumps({"settings": wanted, "seconds": seconds, "result": result}, indent=1)
        partial = path.with_suffix(".partial")
        partial.write_text(text + "\n", encoding="utf-8")
        partial.replace(path)
        return result

    def known(self, name: str) -> dict[str, Any] | None:
        """`settings`, `seconds` and `result` of a stage that is done; None of another."""
        path = self.folder / f"{name}.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
