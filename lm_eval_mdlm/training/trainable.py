"""The weights that a run trains: each once, under one name, whatever wraps the network."""

from torch import Tensor, nn


WRAPPERS = ("_checkpoint_wrapped_module.", "_orig_mod.")


def trainable(model: nn.Module) -> dict[str, Tensor]:
    """Trained weights by name; weights that are tied appear under their first name alone, frozen ones not at all."""
    return {_plain(name): weight for name, weight in model.named_parameters() if weight.requires_grad}


def _plain(name: str) -> str:
    for wrapper in WRAPPERS:
        name = name.replace(wrapper, "")
    return name
