"""What a deployed model needs: numpy and nothing else."""

from featherlight.runtime.model import LightModel, load

__all__ = ["LightModel", "load"]
