"""Array vocabulary of the decoding floor: one name per shape.

B = rows in a step, N = candidate positions of a row (ascending, padded), R = rows of logits, V = vocabulary.
"""

from jaxtyping import Bool, Float, Int
from torch import Tensor


Logits = Float[Tensor, "R V"]
PerPosition = Float[Tensor, "B N"]
Positions = Int[Tensor, "B N"]
Mask = Bool[Tensor, "B N"]
PerRow = Int[Tensor, " B"]
