"""What a deployed model needs: numpy and nothing else."""

from featherlight.runtime.model import LightModel, load
from featherlight.runtime.packed import read_packed

__all__ = ["LightModel", "load", "read_packed"]
