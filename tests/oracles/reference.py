"""Loss, penalties and their gradients by autograd over the equations: constraints, windows, Ω, as they are defined."""

from __future__ import annotations

from typing import Any

import torch

from rnn.networks import parameters
from rnn.reference import equations, windows
from unroll.contract import MSE, Network, Regularisation


def by_autograd(
    network: Network,
    raw_RP: torch.Tensor,
    x: torch.Tensor,
    target: torch.Tensor,
    config: Regularisation | None = None,
    window: int | None = None,
) -> tuple[list[float], list[float], torch.Tensor]:
    """Losses and penalties [R], and the gradient of their sum with respect to the raw parameters [R, P].

    Every sequence has an output at each step, or one at the end. Windows start from detached states.
    """
    config = config or Regularisation()
    leaf = raw_RP.double().clone().requires_grad_()
    losses, penalties = [], []
    for r in range(len(leaf)):
        raw = {name: tensor[r] for name, tensor in parameters.views(leaf, network).items()}
        tensors = equations.used(torch, network, raw, r)
        loss, penalty = one_replica(network, tensors, x[r], target[r], config, window)
        losses.append(loss)
        penalties.append(penalty + on_weights(network, tensors, config))
    (torch.stack(losses) + torch.stack(penalties)).sum().backward()
    assert leaf.grad is not None
    return [loss.item() for loss in losses], [penalty.item() for penalty in penalties], leaf.grad


def one_replica(
    network: Network,
    tensors: dict[str, Any],
    x: torch.Tensor,
    target: torch.Tensor,
    config: Regularisation,
    window: int | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Its loss, and its penalties on states."""
    cell: Any = network.cell
    T, B = x.shape[:2]
    passed: list[Any] = []

    def recorded(_torch: Any, cell: Any, w: dict[str, Any], x: torch.Tensor, state: dict[str, Any], *_: Any) -> Any:
        s, a, h, after = trajectory(cell, w, x, state or equations.start(torch, cell, w, B))
        passed.append((w, s, a))
        return h, after

    layer = recorded if config.omega else equations.layer_from
    states: list[dict[str, Any]] = []
    outputs, activity = [], torch.zeros((), dtype=torch.float64)
    for part in windows.parts(T, window):
        h, states = windows.run(torch, network, tensors, x, part, states, layer=layer)
        states = [{name: state.detach() for name, state in one.items()} for one in states]
        activity = activity + sum((one**2).sum() for one in h) / (T * B * cell.hidden_size)
        outputs.append(h[-1] @ tensors["readout.W_hy"].T + tensors["readout.b_y"])
    y = torch.cat(outputs)
    kept = slice(-1, None) if network.architecture == "many_to_one" else slice(None)
    loss = equations.cost(torch, MSE(), y[kept], target[kept])
    sent_back = loss + config.activity * activity
    penalty = config.activity * activity
    for w, s, a in passed:
        penalty = penalty + config.omega * omega(cell, w, s, a, sent_back)
    return loss, penalty


def on_weights(network: Network, tensors: dict[str, Any], config: Regularisation) -> torch.Tensor:
    H = network.cell.hidden_size
    weights = [w for name, w in tensors.items() if ".W_" in name]
    recurrent = [w.reshape(-1, H, H) for name, w in tensors.items() if name.endswith("W_hh")]
    penalty = sum(config.l1 * w.abs().sum() + config.l2 / 2 * (w**2).sum() for w in weights)
    for W in recurrent:
        penalty = penalty + config.orthogonality * ((W.mT @ W - torch.eye(H, dtype=W.dtype)) ** 2).sum()
    return torch.as_tensor(penalty)


def omega(cell: Any, w: dict[str, Any], s: list[Any], a: list[Any], sent_back: torch.Tensor) -> torch.Tensor:
    """Pascanu's Ω of the steps of one layer and window, literally; only W_hh is not a constant."""
    total = torch.zeros((), dtype=torch.float64)
    if not sent_back.requires_grad:
        return total
    deltas = torch.autograd.grad(sent_back, s, retain_graph=True, allow_unused=True)
    for t in range(len(s) - 1):
        delta = deltas[t + 1]
        if delta is None or not delta.any():
            continue
        alive = delta.any(1)
        delta = delta[alive].unsqueeze(1)
        sent = delta @ jacobian(cell, w, s[t][alive], a[t + 1][alive])
        total = total + ((sent.norm(dim=2) / delta.norm(dim=2) - 1) ** 2).sum() / len(alive)
    return total


def trajectory(
    cell: Any, w: dict[str, Any], x: torch.Tensor, state: dict[str, Any]
) -> tuple[list[Any], list[Any], torch.Tensor, dict[str, Any]]:
    """States s[t] (see `rnn.bptt.omega`), pre-activations a[t], rates h, and the state after the last step.

    Each s[t] lies between two steps, so that autograd can be asked for dL/ds[t].
    """
    f = getattr(cell, "activation", "identity")
    h, v = state["h"], state.get("v")
    s, a, rates = [], [], []
    for x_t in x:
        a.append(x_t @ w["W_xh"].T + h @ w["W_hh"].T + w.get("b_x", 0) + w.get("b_h", 0))
        if cell.type != "leaky":
            h = equations.activate(torch, f, a[-1])
            s.append(a[-1])
        elif cell.leak == "rates":
            h = (1 - alpha(cell, w)) * h + alpha(cell, w) * equations.activate(torch, f, a[-1])
            s.append(h)
        else:
            v = (1 - alpha(cell, w)) * v + alpha(cell, w) * a[-1]
            h = equations.activate(torch, f, v)
            s.append(v)
        rates.append(h)
    return s, a, torch.stack(rates), {"h": h} | ({} if v is None else {"v": v})


def alpha(cell: Any, w: dict[str, Any]) -> Any:
    return cell.dt / (w["tau"] if "tau" in w else torch.as_tensor(cell.tau, dtype=torch.float64))


def jacobian(cell: Any, w: dict[str, Any], s: torch.Tensor, a_later: torch.Tensor) -> torch.Tensor:
    """∂s[t+1]/∂s[t] of each sequence, [B, H, H]."""
    W, diag = w["W_hh"], torch.diag_embed
    if cell.type != "leaky":
        return W @ diag(slope(cell, s))
    leak = alpha(cell, w).detach().expand(cell.hidden_size)
    if cell.leak == "rates":
        return diag(1 - leak) + diag(leak * slope(cell, a_later)) @ W
    return diag(1 - leak) + diag(leak) @ W @ diag(slope(cell, s))


def slope(cell: Any, a: torch.Tensor) -> torch.Tensor:
    a = a.detach().clone().requires_grad_()
    equations.activate(torch, getattr(cell, "activation", "identity"), a).sum().backward()
    assert a.grad is not None
    return a.grad
