"""What lm_eval writes of a run beside our own record: no keys of services, and no home folder."""

from collections.abc import Mapping
from typing import Any

from ..showing.private import public


OF_CONFIG = ("model_args", "gen_kwargs", "use_cache")
"""Entries of the results' `config` that lm_eval fills with what the command line says."""
OF_RECORD = ("loading", "backbone")
"""Entries of our record beside it that name places."""
OF_TASK = ("metadata", "dataset_path", "dataset_kwargs", "generation_kwargs")
"""Entries of a task's `configs`: the first holds all model_args, the last `--gen_kwargs` as well."""


def disclose(given: Mapping[str, Any], results: Any) -> None:
    """Change the results of `simple_evaluate` before anybody writes them; those of other packages' models stay.

    Args:
        given: Arguments of the call.
        results: What it returns; None in all processes but the first.
    """
    config = results.get("config") if isinstance(results, dict) else None
    if not isinstance(config, dict) or not isinstance(config.get("mdlm"), dict):
        return
    _make_public(config, OF_CONFIG)
    _make_public(config["mdlm"], OF_RECORD)
    of_tasks = results.get("configs", {})
    results["configs"] = {name: dict(own) for name, own in of_tasks.items()}
    for own in results["configs"].values():
        _make_public(own, OF_TASK)
    for samples in (results.get("samples") or {}).values():
        for sample in samples:
            sample["arguments"] = [_without_places(own) for own in sample["arguments"]]
    _rename(getattr(given.get("evaluation_tracker"), "general_config_tracker", None))


def _make_public(entries: dict[str, Any], names: tuple[str, ...]) -> None:
    entries.update({name: public(entries[name]) for name in names if name in entries})


def _without_places(arguments: Any) -> Any:
    """Of a request: its options as a record may hold them, its texts as the model got them."""
    if not isinstance(arguments, list | tuple):
        return arguments
    return tuple(public(own) if isinstance(own, Mapping) else own for own in arguments)


def _rename(tracker: Any) -> None:
    """The name of the model, after which lm_eval also names the folder of its results."""
    name = getattr(tracker, "model_name", None)
    if isinstance(name, str) and (shown := public(name)) != name:
        from lm_eval.utils import sanitize_model_name

        tracker.model_name, tracker.model_name_sanitized = shown, sanitize_model_name(shown.removeprefix("~/"))
