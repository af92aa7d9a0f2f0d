"""From a harness request's `generation_kwargs` to decoding options."""

from collections.abc import Mapping
from typing import Any

from ..errors import UsageError
from ..options.foreign_names import LENGTH_NAMES
from ..options.values import flag


WITHOUT_EFFECT: Mapping[str, tuple[Any, ...]] = {
    "top_p": (None, 1, 1.0),
    "top_k": (None, 0, -1),
    "num_beams": (None, 1),
    "repetition_penalty": (None, 1, 1.0),
    "min_p": (None, 0, 0.0),
}
"""Options of autoregressive sampling that stock tasks may set, with the values that change nothing."""


def options_of_request(generation_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Decoding options that a request sets; what it does not mention is left to the model's own options.

    `do_sample=False` means temperature 0, as everywhere in the harness.

    Raises:
        UsageError: For an option of autoregressive sampling at a value that masked diffusion cannot honour.
    """
    options = dict(generation_kwargs)
    for name, neutral in WITHOUT_EFFECT.items():
        value = options.pop(name, None)
        if value not in neutral:
            raise UsageError(
                f"{name}={value!r} is not available for masked diffusion models; "
                f"add {name}={neutral[-1]} to --gen_kwargs to run this task without it."
            )
    lengths = [options.pop(name) for name in LENGTH_NAMES if options.get(name) is not None]
    for name in LENGTH_NAMES:
        options.pop(name, None)
    if lengths and options.get("gen_length") is None:
        options["gen_length"] = lengths[0]
    do_sample = options.pop("do_sample", None)
    if do_sample is not None and not flag("do_sample", do_sample):
        options["temperature"] = 0.0
    return options
