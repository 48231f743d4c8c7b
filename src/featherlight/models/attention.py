"""Attention on a processor, where texts are short and PyTorch's own takes half as long again.

PyTorch's `scaled_dot_product_attention` with dropout goes through a general path with several checks of the mask,
and without dropout through one that is made for long texts (those are left to it where nothing is trained). Here it is
two products and a softmax. Same numbers but for rounding where a token may look at another at all; models call it
through the attention interface of `transformers`.
House shapes: B examples, T tokens, H heads, D width of a head.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from featherlight.errors import UserError
from featherlight.models.dropout import keep_mask

NAME, _FUSED, _USUAL = "featherlight_short", "featherlight_fused", "sdpa"
LONGEST = 64  # tokens; without dropout PyTorch's own is faster above: at 128 twice as fast


def short_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None,
    dropout: float = 0.0, scaling: float | None = None, is_causal: bool | None = None, **more: Any,
) -> tuple[Tensor, None]:  # fmt: skip
    """query, key, value: [B, H, T, D] -> [B, T, H, D]; attention_mask: True [B, 1, T, T] where a token may look."""
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    plain = attention_mask.dtype == torch.bool if attention_mask is not None else not causal
    grouped = getattr(module, "num_key_value_groups", 1) > 1
    special = any(more.get(name) is not None for name in ("position_bias", "softcap", "cache", "sliding_window"))
    long = query.shape[2] > LONGEST and not module.training
    if long or query.device.type != "cpu" or not plain or grouped or special:
        return sdpa_attention_forward(  # type: ignore[no-any-return]
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, is_causal=is_causal, **more
        )
    scores = torch.matmul(query * (query.shape[-1] ** -0.5 if scaling is None else scaling), key.transpose(2, 3))
    if attention_mask is not None:
        scores = scores.masked_fill(~attention_mask, torch.finfo(scores.dtype).min)
    shares = torch.softmax(scores, dim=-1)
    if 0 < dropout < 1:
        shares = shares * keep_mask(shares, dropout)
    return torch.matmul(shares.to(value.dtype), value).transpose(1, 2).contiguous(), None


def _fused_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None,
    dropout: float = 0.0, **more: Any,
) -> tuple[Tensor, None]:  # fmt: skip
    """PyTorch's fused kernel, which stores no T x T matrices; on a processor it knows no dropout, so there is none."""
    dropout = 0.0 if query.device.type == "cpu" else dropout
    return sdpa_attention_forward(  # type: ignore[no-any-return]
        module, query, key, value, attention_mask, dropout=dropout, **more
    )


for name, function in ((NAME, short_attention), (_FUSED, _fused_attention)):
    AttentionInterface.register(name, function)
    AttentionMaskInterface.register(name, sdpa_mask)


def choose_attention(model: nn.Module, name: str) -> None:
    """Set the attention: "auto" (as it is), "eager", "sdpa" (`_fused_attention`); UserError without such a choice."""
    if name == "auto":
        return
    attention = {"eager": "eager", "sdpa": _FUSED}[name]
    config: Any = model.config
    if getattr(config, "_attn_implementation", None) == attention:
        return
    can = getattr(model, "_can_set_attn_implementation", lambda: False)()
    if not can or (name == "sdpa" and not getattr(model, "_supports_sdpa", False)):
        raise UserError(f"--attention {name}: {config.model_type} models know one attention only. Leave it out.")
    model.set_attn_implementation(attention)  # type: ignore[operator]


def use_short_attention(model: nn.Module) -> bool:
    """Let a model that would use PyTorch's attention use this one, and say so; others keep their own."""
    config = getattr(model, "config", None)
    can = getattr(model, "_can_set_attn_implementation", lambda: False)()
    fits = can and getattr(config, "_attn_implementation", None) == _USUAL
    if fits:
        model.set_attn_implementation(NAME)  # type: ignore[operator]
    return bool(fits)


@contextmanager
def short_attention_in(model: nn.Module) -> Iterator[None]:
    """Use this attention for a while; then the model, which will be saved, has its own again."""
    fits = use_short_attention(model)
    try:
        yield
    finally:
        if fits:
            model.set_attn_implementation(_USUAL)  # type: ignore[operator]
