"""Both directions of one recurrent layer at once, on padded texts: what `nn.LSTM` and `nn.RNN` compute, in fewer calls.

PyTorch runs packed texts one direction and one step at a time, and its backward pass adds up the weights'
gradients step by step. Here a step is one batched product for both directions, and each weight's gradient
is one product over all steps. Knows no pooling; weights stay in the modules of PyTorch.
House shapes: B examples, T tokens, D width, H hidden units per direction, G gates (4 in an LSTM, 1 in an RNN).
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


def both_directions(network: nn.LSTM | nn.RNN, vectors: Tensor, lengths: Tensor) -> Tensor:
    """Every state of a bidirectional single layer: [B, T, D] and lengths [B] -> [2, T, B, H].

    [0, t]: after the first t + 1 tokens; [1, t]: after the last t + 1 tokens of each text. States at
    t >= length belong to padding and must not be used.
    """
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    weights = [torch.stack([getattr(network, name), getattr(network, f"{name}_reverse")]) for name in names]
    # [2, T, B, D]: as written, and each text from its last token to its first, padding behind it.
    steps = torch.arange(vectors.shape[1], device=vectors.device)
    backward = (lengths[:, None] - 1 - steps).where(steps < lengths[:, None], steps)
    reversed_vectors = vectors.gather(1, backward.unsqueeze(-1).expand_as(vectors))
    inputs = torch.stack([vectors, reversed_vectors]).transpose(1, 2)
    cell = _LSTMSteps if isinstance(network, nn.LSTM) else _RNNSteps
    states: Tensor = cell.apply(inputs, *weights)  # type: ignore[no-untyped-call]
    return states


def _projected(inputs: Tensor, w_in: Tensor, b_in: Tensor, b_state: Tensor) -> tuple[Tensor, Tensor]:
    """The inputs as one matrix per direction [2, TB, D], and what they add to the gates [2, T, B, GH]."""
    _, steps, rows, width = inputs.shape
    flat = inputs.reshape(2, steps * rows, width)
    gates = torch.baddbmm((b_in + b_state).unsqueeze(1), flat, w_in.transpose(1, 2))
    return flat, gates.view(2, steps, rows, -1)


def _weight_gradients(
    d_gates: Tensor, flat: Tensor, states: Tensor, w_in: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of inputs, both weights and both biases from those of the gates [2, T, B, GH]."""
    _, steps, rows, width = d_gates.shape
    wide = d_gates.view(2, steps * rows, width)
    before = states[:, :-1].reshape(2, (steps - 1) * rows, states.shape[-1])  # the first step starts from zeros
    d_state = torch.bmm(d_gates[:, 1:].reshape(2, (steps - 1) * rows, width).transpose(1, 2), before)
    d_inputs = torch.bmm(wide, w_in).view(2, steps, rows, -1)
    d_bias = wide.sum(dim=1)
    return d_inputs, torch.bmm(wide.transpose(1, 2), flat), d_state, d_bias, d_bias


class _RNNSteps(torch.autograd.Function):
    """h = tanh(W x + U h' + b)."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, w_in: Tensor, w_state: Tensor, b_in: Tensor, b_state: Tensor) -> Tensor:
        """[2, T, B, D] -> states [2, T, B, H]."""
        flat, states = _projected(inputs, w_in, b_in, b_state)
        recur = w_state.transpose(1, 2)
        for step in range(states.shape[1]):
            now = states[:, step]
            if step:
                now.baddbmm_(states[:, step - 1], recur)
            now.tanh_()
        ctx.save_for_backward(flat, states, w_in, w_state)
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_states: Tensor) -> tuple[Tensor, ...]:
        """d_states: [2, T, B, H]."""
        flat, states, w_in, w_state = ctx.saved_tensors
        slope = 1 - states.square()
        d_gates = torch.empty_like(states)
        last = states.shape[1] - 1
        torch.mul(d_states[:, last], slope[:, last], out=d_gates[:, last])
        for step in range(last - 1, -1, -1):
            arrived = torch.baddbmm(d_states[:, step], d_gates[:, step + 1], w_state)
            torch.mul(arrived, slope[:, step], out=d_gates[:, step])
        return _weight_gradients(d_gates, flat, states, w_in)


class _LSTMSteps(torch.autograd.Function):
    """Gates in PyTorch's order: enter, forget, candidate, leave (Hochreiter and Schmidhuber 1997)."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, w_in: Tensor, w_state: Tensor, b_in: Tensor, b_state: Tensor) -> Tensor:
        """[2, T, B, D] -> states [2, T, B, H]."""
        flat, gates = _projected(inputs, w_in, b_in, b_state)
        _, steps, rows, width = gates.shape
        hidden = width // 4
        recur = w_state.transpose(1, 2)
        states, memory, squashed = (gates.new_empty(2, steps, rows, hidden) for _ in range(3))
        for step in range(steps):
            now = gates[:, step]
            if step:
                now.baddbmm_(states[:, step - 1], recur)
            now[..., : 2 * hidden].sigmoid_()
            enter, forget, candidate, leave = now.chunk(4, dim=-1)
            candidate.tanh_()
            leave.sigmoid_()
            torch.mul(enter, candidate, out=memory[:, step])
            if step:
                memory[:, step].addcmul_(forget, memory[:, step - 1])
            torch.tanh(memory[:, step], out=squashed[:, step])
            torch.mul(leave, squashed[:, step], out=states[:, step])
        ctx.save_for_backward(flat, gates, states, memory, squashed, w_in, w_state)
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_states: Tensor) -> tuple[Tensor, ...]:
        """d_states: [2, T, B, H]."""
        flat, gates, states, memory, squashed, w_in, w_state = ctx.saved_tensors
        _, steps, rows, width = gates.shape
        enter, forget, candidate, leave = gates.chunk(4, dim=-1)
        before = torch.cat([torch.zeros_like(memory[:, :1]), memory[:, :-1]], dim=1)
        # What each gate's gradient is per unit of the memory's (the first three) or the state's (leave).
        slopes = torch.empty_like(gates)
        to_enter, to_forget, to_candidate, to_leave = slopes.chunk(4, dim=-1)
        torch.mul(candidate, enter * (1 - enter), out=to_enter)
        torch.mul(before, forget * (1 - forget), out=to_forget)
        torch.mul(enter, 1 - candidate.square(), out=to_candidate)
        torch.mul(squashed, leave * (1 - leave), out=to_leave)
        to_memory = leave * (1 - squashed.square())
        d_gates = slopes
        by_memory = slopes.view(2, steps, rows, 4, width // 4)[..., :3, :]
        d_memory = None
        for step in range(steps - 1, -1, -1):
            d_state = d_states[:, step]
            if d_memory is None:
                d_memory = d_state * to_memory[:, step]
            else:
                d_state = torch.baddbmm(d_state, d_gates[:, step + 1], w_state)
                d_memory = (d_memory * forget[:, step + 1]).addcmul_(d_state, to_memory[:, step])
            by_memory[:, step].mul_(d_memory.unsqueeze(-2))
            to_leave[:, step].mul_(d_state)
        return _weight_gradients(d_gates, flat, states, w_in)
