"""Losses that compare a student with its teacher.

Pure functions: tensors in, one scalar tensor out. No model, no trainer, no device.
Each is a mean over `rows` examples, those of a whole step that these B are a part of; None: over the B.
House shapes: B examples, C classes (C = 1: a regression).
"""

import torch.nn.functional as F
from torch import Tensor


def logits_mse(student: Tensor, teacher: Tensor, *, temperature: float = 1.0, rows: float | None = None) -> Tensor:
    """Mean squared difference of the logits (Ba and Caruana 2014, arXiv:1312.6184; Tang et al. 2019).

    student, teacher: [B, C]; no gradient reaches the teacher. temperature has no part in it.
    """
    return _squared(student, teacher.detach(), rows)


def soft_cross_entropy(student: Tensor, teacher: Tensor, *, temperature: float, rows: float | None = None) -> Tensor:
    """H(teacher, student): pull the student's class distribution towards the teacher's softened one.

    student, teacher: logits [B, C]; no gradient reaches the teacher.
    temperature: above 0; 1 softens nothing.
    Returns a scalar in nats, times temperature squared so that its gradient keeps the
    size of the hard-label loss (Hinton et al. 2015, arXiv:1503.02531, section 2).
    """
    log_p = F.log_softmax(student / temperature, dim=-1)
    q = F.softmax(teacher.detach() / temperature, dim=-1)
    return -(q * log_p).sum(dim=-1).sum() / (rows or len(student)) * temperature**2


def kl_divergence(student: Tensor, teacher: Tensor, *, temperature: float, rows: float | None = None) -> Tensor:
    """KL(teacher || student): the soft cross-entropy less the teacher's own entropy; 0 when both agree.

    Its gradient equals that of `soft_cross_entropy`; shapes, units and temperature as there.
    """
    log_p = F.log_softmax(student / temperature, dim=-1)
    log_q = F.log_softmax(teacher.detach() / temperature, dim=-1)
    return F.kl_div(log_p, log_q, reduction="sum", log_target=True) / (rows or len(student)) * temperature**2


def soft_mse(student: Tensor, teacher: Tensor, *, temperature: float, rows: float | None = None) -> Tensor:
    """Mean squared difference of the softened class distributions, as the FFN students were published with.

    student, teacher: logits [B, C]; no gradient reaches the teacher. temperature: above 0. No factor
    makes up for the small gradient (thesis on featherweight models, section 6.1.3 and appendix A).
    """
    return _squared(F.softmax(student / temperature, dim=-1), F.softmax(teacher.detach() / temperature, dim=-1), rows)


def _squared(first: Tensor, second: Tensor, rows: float | None) -> Tensor:
    """Squared differences [B, C], summed and divided by the numbers in all rows."""
    return F.mse_loss(first, second, reduction="sum") / ((rows or len(first)) * first.shape[-1])


LOSSES = {"mse": logits_mse, "ce": soft_cross_entropy, "kl": kl_divergence, "soft_mse": soft_mse}
