"""Task files of generated tasks, with `!function` where a user writes it."""

from typing import Any

import yaml


class Function(str):
    """Written as `!function` of `any_tasks`."""


class Dumper(yaml.SafeDumper):
    """Knows `Function`."""


Dumper.add_representer(
    Function, lambda dumper, name: dumper.represent_scalar("!function", f"tests.harness.any_tasks.{name}")
)


def text_of(content: Any) -> str:
    """A task or group as YAML; a class of the package itself may be named too."""
    text: str = yaml.dump(content, Dumper=Dumper)
    return text.replace("class: lm_eval_mdlm.", "class: !function lm_eval_mdlm.")
