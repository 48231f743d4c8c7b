"""The table of commands. Heavy imports sit inside them, so that `--help` answers at once."""

from featherlight.commands import models, store, studies
from featherlight.commands.options import app

__all__ = ["app", "models", "store", "studies"]
