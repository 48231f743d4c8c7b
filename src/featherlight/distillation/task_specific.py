"""The objective of a student whose teacher was fine-tuned on the task."""

from collections.abc import Mapping

from torch import Tensor, nn

from featherlight.distillation.losses import LOSSES
from featherlight.errors import UserError, pick
from featherlight.training.finetune import label_loss
from featherlight.training.objective import Batch, Objective


class TaskDistillation(Objective):
    """alpha x the labels' loss + (1 - alpha) x the teacher's; `alpha` always weighs the labels.

    Hinton et al. 2015 (arXiv:1503.02531); Tang et al. 2019 (arXiv:1903.12136), equation 2. A text that
    has no label (see `label_loss`) has the teacher's part alone. class_weights: [C], for the labels' part.
    """

    def __init__(self, *, alpha: float, loss: str, temperature: float, class_weights: Tensor | None = None):
        self.alpha, self.temperature, self.class_weights = alpha, temperature, class_weights
        self.compare = pick("loss", loss, LOSSES)

    def __call__(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The share of a batch whose targets hold "labels" and "teacher" (logits [B, C])."""
        logits = model(**batch.inputs).logits.float()
        rows = batch.totals["rows"]
        labels = label_loss(logits, batch.targets["labels"], self.class_weights, rows=rows)
        teacher = self.compare(logits, batch.targets["teacher"], temperature=self.temperature, rows=rows)
        return self.alpha * labels + (1 - self.alpha) * teacher, {"labels": labels, "teacher": teacher}


def check_loss_fits(loss: str, *, regression: bool) -> None:
    """A regression has one logit and no class distribution to soften."""
    if regression and loss != "mse":
        raise UserError(f"--loss {loss} compares class distributions, but this task is a regression. Use --loss mse.")
