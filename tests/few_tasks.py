"""lm_eval with few of its own tasks: to read the thousands of files of all takes ten seconds of processor time.

    python -m tests.few_tasks run --model mdlm ...

is the command line of this package with none of them; this package's own, and those of other folders, are there.
"""

from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

import lm_eval.tasks
from lm_eval.tasks._index import TaskIndex


STOCK = Path(lm_eval.tasks.__file__).parent


def index_only(folders: Collection[str] = (), patch: Callable[[Any, str, Any], None] = setattr) -> None:
    """From now on a `TaskManager` reads these folders in the place of all that lm_eval brings."""
    build = TaskIndex.build

    def built(paths: Iterable[Path], **options: Any) -> Any:
        few = [STOCK / name for name in folders]
        return build([own for path in paths for own in (few if path == STOCK else [path])], **options)

    patch(TaskIndex, "build", staticmethod(built))


def main() -> None:
    index_only()
    from lm_eval_mdlm.__main__ import main as command_line

    command_line()


if __name__ == "__main__":
    main()
