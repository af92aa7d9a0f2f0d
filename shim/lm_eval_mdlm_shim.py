"""Copied into site-packages beside the start-up file that calls it, so that it is there even where the package is not.

An editable install whose checkout was moved away would otherwise print a traceback whenever Python starts.
"""


def install() -> None:
    """Let lm_eval find `mdlm` and its tasks; nothing if the package cannot be found any more."""
    try:
        from lm_eval_mdlm import _autoload
    except ImportError:
        return
    _autoload.install()
