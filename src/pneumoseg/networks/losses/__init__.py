"""Terms of the loss on masks: one module a term, which registers itself under its name in train.loss.

Targets are soft: the share of a pixel that is lesion, in [0, 1]. Everything is float32. Over several processes with
equal shares of a batch, the mean of their gradients is that of the whole batch: sums are exchanged where a mean over
images is not enough. Without gradients (validation) nothing is exchanged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

#: An entry of the registry LOSSES: (logits (N, 1, H, W) float32, target of that shape in [0, 1], its section of
#: train.loss) → float32 scalar; 0 for an empty image that is surely found empty.
Term = Callable[[Tensor, Tensor, Any], Tensor]
