"""The tests; what is imported from here on is checked by `array_checks`, where pytest has jaxtyping check it at all."""

from .array_checks import check_arrays_only


check_arrays_only()
