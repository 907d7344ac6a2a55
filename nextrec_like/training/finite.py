"""Whether values are finite."""

import torch
from torch import Tensor


def is_finite(values: Tensor) -> bool:
    """Whether all values are; waits for the device.

    The extremes of a table need no memory, unlike a mask of its size; NaN is an extreme, too.
    """
    if not values.numel() or not values.is_floating_point():
        return True
    return bool(torch.stack(values.detach().aminmax()).isfinite().all())
