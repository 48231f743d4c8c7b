"""A toy trained on a mean over words, in as many processes as a launcher starts: `-m helpers.word_training FOLDER`.

Batches of 11 of the 23 rows: the last one has a row for one process alone.
"""

import json
import sys
from pathlib import Path

from featherlight import distributed
from featherlight.training.loop import train
from helpers.trainings import Toy, WordObjective, context, options, toy_data, weights


def main(folder: Path) -> dict[str, list[float]]:
    """Losses and weights at the end."""
    model = Toy()
    progress = train(
        model, WordObjective(), toy_data(), None, options=options(batch_size=11, batch_tokens=20),
        context=context(folder / str(distributed.rank())),
    )  # fmt: skip
    return {"loss": progress.loss, "weights": weights(model).tolist()}


if __name__ == "__main__":
    out = Path(sys.argv[1])
    found = main(out)
    if not distributed.rank():
        (out / "found.json").write_text(json.dumps(found))
