"""Tensors in files."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor


def write_tensors(file: Path, tensors: Mapping[str, Tensor]) -> None:
    """Writes tensors, of which no two may share memory, as safetensors.

    Raises:
        OSError: If the file cannot be written.
    """
    try:
        save_file(dict(tensors), file)
    except SafetensorError as error:
        raise OSError(str(error)) from error
