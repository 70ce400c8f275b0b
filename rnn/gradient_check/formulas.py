"""Writes the equations of a network and of its gradients as text for people.

Sources: docs/bptt_in_numpy.py and the files of `rnn.cells`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from rnn.cells.facts import facts
from unroll.contract import Formula, LeakyCell, Loss, Network

_SLOPES = {
    "tanh": "f' = 1 - f²",
    "relu": "f' = 1 where a > 0, else 0",
    "leaky_relu": "f' = 1 where a > 0, else 0.01",
    "softplus": "f' = sigmoid(a)",
    "sigmoid": "f' = f (1 - f)",
    "identity": "f' = 1",
    "saturated_relu": "f' = 1 where 0 < a < 1, else 0",
}
_LOSSES = {
    "mse": "2 (y[t] - target[t])",
    "cross_entropy": "(softmax(y[t]) Σ_o target[t] - target[t])",
    "bce": "(sigmoid(y[t]) - target[t])",
    "poisson": "(exp(y[t]) - target[t])",
}
_UNSHOWN = (
    "The course's formula, dL/dW_xh = dL/dy Σ_t ∂y/∂h[t] ∂h[t]/∂W_xh, leaves out the product of Jacobians between "
    "steps: x[k] changes not only h[k] but also, through W_hh, every later state."
)
_SO_DO = "The same holds for W_hh, b_x and b_h."
_SUMS, _PRODUCT = "Σ_{k=1..T} Σ_{t=k..T}", "(∏_{s=k+1..t} J[s])"
_JACOBIANS = (
    "the latest step is leftmost; singular values below one make old gradients vanish, above one make them explode"
)
_SAME_BIAS = (
    "The same as dL/db_x: both biases are in one sum, so the loss depends only on b_x + b_h, and data determine only "
    "that sum. If both are trained, a step changes both by the same amount, and their difference stays the same. "
    "Weight decay also reduces each bias in proportion, so the difference shrinks; L1 and L2 do not act on biases."
)


def of(network: Network, loss: Loss, window: int | None = None) -> list[Formula]:
    """Return the forward pass, the way of gradients back through time, and the gradient of each parameter."""
    cell = CELLS[network.cell.type](network.cell)
    found = [
        *cell.formulas,
        *_constraints(network),
        Formula(name="readout", formula="y[t] = W_hy h[t] + b_y"),
        _derivative(loss),
        Formula(name="dL/dW_hy", formula="Σ_t dL/dy[t] h[t]ᵀ"),
        Formula(name="dL/db_y", formula="Σ_t dL/dy[t]"),
    ]
    if network.num_layers > 1:
        formula = f"x of layer n is h of layer n-1, where W_xhᵀ {cell.da} of layer n takes the place of W_hyᵀ dL/dy[t]"
        found.append(Formula(name="stacked layers", formula=formula))
    if network.vocabulary_size is not None:
        found.append(
            Formula(name="dL/dE", formula="row v: Σ dL/dx[t] over the steps whose token is v", note="x[t] = E[token]")
        )
    if network.architecture == "encoder_decoder":
        decoder = "h'[0] = h[T], u[1] = 0, u[t] = target[t-1] where forced, g(y[t-1]) where it runs free"
        found += [
            Formula(
                name="decoder", formula=decoder, note="The decoder is the same cell with its own weights; u replaces x."
            ),
            Formula(name="dL/dy[t] of a free decoder", formula="the loss's own + g'(y[t])ᵀ dL/du[t+1]"),
            Formula(
                name="dL/dh[T] of the encoder", formula="dL/dh'[0]", note="the same holds for c, or for the potential"
            ),
        ]
    if network.h0 == "trainable":
        formula = f"dL/d{cell.state}[0], summed over sequences"
        found.append(Formula(name="dL/dh0", formula=formula, note=cell.initial))
    return found if window is None else _truncated(found, window)


def _derivative(loss: Loss) -> Formula:
    """Return the gradient with respect to the output, as `rnn.bptt.losses` computes it."""
    sequences = loss.type == "mse" and loss.over == "sequences"
    counted = "steps and sequences" if loss.type == "cross_entropy" else "steps, sequences and outputs"
    if sequences:
        mean = "the number of sequences"
    elif loss.time_weights is None:
        mean = f"the number of elements that the mean is over: valid {counted}"
    else:
        mean = f"the sum of w[t] over valid {counted}"
    factor = "" if loss.time_weights is None else "w[t] "
    formula = f"dL/dy[t] = {factor}{_LOSSES[loss.type]} / K"
    return Formula(name="dL/dy[t]", formula=formula, note=f"K: {mean}. Zero at steps without a target.")


def _constraints(network: Network) -> list[Formula]:
    """Return how used weights are made from the trained ones, and the gradient of these: `rnn.bptt.constraints`."""
    c, found = network.connectivity, []
    image, back, notes = "V", "dL/dW_hh", ["V is the trained matrix"]
    if c.symmetry != "none":
        image = "(V + Vᵀ)/2" if c.symmetry == "symmetric" else "(V - Vᵀ)/2"
    if c.mask is not None or c.density < 1 or not c.autapses:
        image = f"M ∘ {image}"
        notes.append("M_ij is 1 where unit j may send to unit i, else 0")
    masked = image
    if c.dale is not None:
        image = f"s ∘ |{masked}|"
        back = f"s ∘ sign({masked}) ∘ {back}"
        notes.append("s_ij is the sign of unit j, and sign(0) = 1")
    if masked.startswith("M"):
        back = f"M ∘ {back}"
    if c.symmetry != "none":
        back = f"(G + Gᵀ)/2 with G = {back}" if c.symmetry == "symmetric" else f"(G - Gᵀ)/2 with G = {back}"
    if image != "V":
        found += [
            Formula(name="W_hh", formula=image, note=f"{'; '.join(notes)}. The same holds for each gate."),
            Formula(
                name="dL/dV", formula=back, note="The check moves V and names it W_hh. Zero where a weight is frozen."
            ),
        ]
    if c.dale is not None and c.dale.readout == "excitatory":
        note = "e_j is 1 where unit j excites, else 0; the gradient of U is e ∘ dL/dW_hy."
        found.append(Formula(name="W_hy", formula="e ∘ U", note=note))
    return found


def _truncated(found: list[Formula], window: int) -> list[Formula]:
    """Return the formulas with sums that end at the window's end."""
    ends = [Formula(name=one.name, formula=one.formula.replace("t=k..T", "t=k..e(k)"), note=one.note) for one in found]
    note = (
        "The last step of k's window: later losses give step k no gradient. The recursion restarts after each window."
    )
    return [*ends, Formula(name="e(k)", formula=f"min(T, {window} ⌈k/{window}⌉)", note=note)]


class CellFormulas(NamedTuple):
    """One cell's formulas, and the names that the network's formulas use for it."""

    formulas: list[Formula]
    """The formulas of its step, of how gradients travel back through it, and of each parameter's gradient."""
    da: str = "dL/da[t]"
    """The gradient of W_xh x[t], which a layer sends to the layer below."""
    state: str = "h"
    """The state whose initial value is h0."""
    initial: str = ""
    """A note about initial states."""


def _rate(cell: Any) -> CellFormulas:
    """Return the formulas of the vanilla cell, the linear cell (no biases) or the feed-forward cell (no recurrence)."""
    about = facts(cell)
    return CellFormulas(_of_rates(about.activation, biases=about.biases != "none", recurrent=about.recurrent))


def _of_rates(f: str, *, biases: bool, recurrent: bool) -> list[Formula]:
    inside = "W_xh x[t]" + (" + b_x" if biases else "") + (" + W_hh h[t-1]" if recurrent else "")
    inside += " + b_h" if biases and recurrent else ""
    found = [
        Formula(name="pre-activation", formula=f"a[t] = {inside}"),
        Formula(name="state", formula="h[t] = f(a[t])", note=f"f = {f}, {_SLOPES[f]}; D[t] = diag(f'(a[t]))"),
    ]
    if not recurrent:
        found += [
            Formula(
                name="dL/da[t]",
                formula="D[t] W_hyᵀ dL/dy[t]",
                note="Steps do not affect each other, because no state is carried.",
            ),
            Formula(name="dL/dW_xh", formula="Σ_t dL/da[t] x[t]ᵀ"),
            Formula(name="dL/db_x", formula="Σ_t dL/da[t]"),
        ]
        return found
    jacobian = _PRODUCT.replace("J[s]", "D[s] W_hh")
    return [
        *found,
        Formula(name="∂h[t]/∂h[k]", formula=jacobian[1:-1], note=_JACOBIANS),
        Formula(name="dL/dh[k]", formula=f"Σ_{{t=k..T}} {jacobian}ᵀ W_hyᵀ dL/dy[t]"),
        _recursion("dL/dh[t] = W_hyᵀ dL/dy[t] + W_hhᵀ dL/da[t+1],  dL/da[t] = D[t] dL/dh[t],  dL/da[T+1] = 0"),
        *_weights(f"D[k] {jacobian}ᵀ W_hyᵀ dL/dy[t]", biases=biases),
    ]


def _leaky(cell: LeakyCell) -> CellFormulas:
    rates, f, learned = cell.leak == "rates", cell.activation, cell.learn_tau
    found = [Formula(name="pre-activation", formula="a[t] = W_xh x[t] + b_x + W_hh h[t-1] + b_h")]
    slope = f"α = dt/τ; f = {f}, {_SLOPES[f]}; D[t] = diag(f' at step t)"
    if rates:
        found += [
            Formula(name="state", formula="h[t] = (1-α) h[t-1] + α f(a[t])", note=slope),
            Formula(name="J[s] = ∂h[s]/∂h[s-1]", formula="(1-α) I + α D[s] W_hh"),
            Formula(name="∂h[t]/∂h[k]", formula=_PRODUCT[1:-1], note=_JACOBIANS),
            Formula(name="dL/dh[k]", formula=f"Σ_{{t=k..T}} {_PRODUCT}ᵀ W_hyᵀ dL/dy[t]"),
            _recursion("dL/dh[t] = W_hyᵀ dL/dy[t] + (1-α) dL/dh[t+1] + W_hhᵀ dL/da[t+1],  dL/da[t] = α D[t] dL/dh[t]"),
            *_weights(f"α D[k] {_PRODUCT}ᵀ W_hyᵀ dL/dy[t]"),
        ]
        dalpha = "Σ_t dL/dh[t] ∘ (f(a[t]) - h[t-1])"
    else:
        found += [
            Formula(name="potential", formula="v[t] = (1-α) v[t-1] + α a[t]", note=slope),
            Formula(name="state", formula="h[t] = f(v[t])"),
            Formula(name="J[s] = ∂v[s]/∂v[s-1]", formula="(1-α) I + α W_hh D[s-1]"),
            Formula(name="∂v[t]/∂v[k]", formula=_PRODUCT[1:-1], note=_JACOBIANS),
            Formula(name="dL/dv[k]", formula=f"Σ_{{t=k..T}} {_PRODUCT}ᵀ D[t] W_hyᵀ dL/dy[t]"),
            _recursion(
                "dL/dv[t] = D[t] (W_hyᵀ dL/dy[t] + W_hhᵀ dL/da[t+1]) + (1-α) dL/dv[t+1],  dL/da[t] = α dL/dv[t]"
            ),
            *_weights(f"α {_PRODUCT}ᵀ D[t] W_hyᵀ dL/dy[t]"),
        ]
        dalpha = "Σ_t dL/dv[t] ∘ (v[t] - v[t-1])/α"
    if learned != "no":
        dalpha = f"Σ_i [{dalpha}]_i" if learned == "shared" else dalpha
        note = "τ = dt (1 + e^-θ) with θ trained, so τ > dt; dL/dθ = dL/dτ (dt - τ)"
        found.append(Formula(name="dL/dτ", formula=f"-α/τ {dalpha}", note=note))
    return CellFormulas(found) if rates else CellFormulas(found, state="v", initial="h0 is the potential v[0]")


def _lstm(_cell: Any) -> CellFormulas:
    joint = "Four blocks at each step: the derivatives of h and c after it by h and c before it."
    forget = "Along c alone the product of Jacobians is ∏ diag(f[s]), which is near one while the forget gate is open."
    return CellFormulas(
        [
            Formula(
                name="pre-activation", formula="a[t] = W_xh x[t] + b_x + W_hh h[t-1] + b_h", note="blocks i, f, g, o"
            ),
            Formula(name="gates", formula="i, f, o = sigmoid(a_i), sigmoid(a_f), sigmoid(a_o);  g = tanh(a_g)"),
            Formula(name="cell state", formula="c[t] = f ∘ c[t-1] + i ∘ g"),
            Formula(name="state", formula="h[t] = o ∘ tanh(c[t])"),
            Formula(name="S[t] = ∂h[t]/∂c[t]", formula="diag(o ∘ (1 - tanh(c[t])²))"),
            Formula(
                name="A_c[t] = ∂c[t]/∂a[t]",
                formula="[diag(g ∘ i(1-i))  diag(c[t-1] ∘ f(1-f))  diag(i ∘ (1-g²))  0]",
            ),
            Formula(name="A_h[t] = ∂h[t]/∂a[t]", formula="S[t] A_c[t] + [0  0  0  diag(tanh(c[t]) ∘ o(1-o))]"),
            Formula(
                name="J[s] = ∂(h,c)[s]/∂(h,c)[s-1]",
                formula="[A_h[s] W_hh, S[s] diag(f[s]); A_c[s] W_hh, diag(f[s])]",
                note=joint,
            ),
            Formula(name="∂(h,c)[t]/∂(h,c)[k]", formula=_PRODUCT[1:-1], note=f"{_JACOBIANS}. {forget}"),
            Formula(name="dL/d(h,c)[k]", formula=f"Σ_{{t=k..T}} {_PRODUCT}ᵀ [W_hyᵀ dL/dy[t]; 0]"),
            _recursion(
                "dh = W_hyᵀ dL/dy[t] + W_hhᵀ dL/da[t+1],  dc = S[t] dh + f[t+1] ∘ dc[t+1],  dL/da[t] = "
                "i: dc ∘ g ∘ i(1-i);  f: dc ∘ c[t-1] ∘ f(1-f);  g: dc ∘ i ∘ (1-g²);  o: dh ∘ tanh(c[t]) ∘ o(1-o)"
            ),
            *_weights(f"[A_h[k]; A_c[k]]ᵀ {_PRODUCT}ᵀ [W_hyᵀ dL/dy[t]; 0]"),
        ],
        initial="the same holds for c0",
    )


def _gru(_cell: Any) -> CellFormulas:
    reset = (
        "b_h of the candidate n is inside r ∘ (…), so the reset gate scales its gradient, which differs from that of "
        "b_x. Only in n do data determine each of the two biases."
    )
    back = f"{_PRODUCT}ᵀ W_hyᵀ dL/dy[t]"
    return CellFormulas(
        [
            Formula(name="input", formula="p[t] = W_xh x[t] + b_x", note="blocks r, z, n"),
            Formula(name="recurrent", formula="q[t] = W_hh h[t-1] + b_h", note="blocks r, z, n: W_hr, W_hz, W_hn"),
            Formula(name="gates", formula="r = sigmoid(p_r + q_r);  z = sigmoid(p_z + q_z);  n = tanh(p_n + r ∘ q_n)"),
            Formula(name="state", formula="h[t] = (1-z) ∘ n + z ∘ h[t-1]"),
            Formula(
                name="P_r, P_z, P_n",
                formula="P_n = diag((1-z) ∘ (1-n²));  P_r = P_n diag(q_n ∘ r(1-r));  P_z = diag((h[t-1]-n) ∘ z(1-z))",
                note="P[t] = ∂h[t]/∂p[t] = [P_r  P_z  P_n] at step t",
            ),
            Formula(name="Q[t] = ∂h[t]/∂q[t]", formula="[P_r  P_z  diag(r) P_n]"),
            Formula(
                name="J[s] = ∂h[s]/∂h[s-1]",
                formula="diag(z) + Q[s] W_hh = diag(z) + P_r W_hr + P_z W_hz + diag(r) P_n W_hn",
                note="gates and P at step s",
            ),
            Formula(name="∂h[t]/∂h[k]", formula=_PRODUCT[1:-1], note=_JACOBIANS),
            Formula(name="dL/dh[k]", formula=f"Σ_{{t=k..T}} {back}"),
            _recursion(
                "dL/dh[t] = W_hyᵀ dL/dy[t] + z[t+1] ∘ dL/dh[t+1] + W_hhᵀ dL/dq[t+1],  dL/dp[t] = P[t]ᵀ dL/dh[t],  "
                "dL/dq[t] = Q[t]ᵀ dL/dh[t]"
            ),
            Formula(
                name="dL/dW_xh",
                formula=f"{_SUMS} P[k]ᵀ {back} x[k]ᵀ = Σ_k dL/dp[k] x[k]ᵀ",
                note=f"{_UNSHOWN} {_SO_DO}",
            ),
            Formula(name="dL/dW_hh", formula=f"{_SUMS} Q[k]ᵀ {back} h[k-1]ᵀ = Σ_k dL/dq[k] h[k-1]ᵀ"),
            Formula(name="dL/db_x", formula=f"{_SUMS} P[k]ᵀ {back} = Σ_k dL/dp[k]"),
            Formula(name="dL/db_h", formula=f"{_SUMS} Q[k]ᵀ {back} = Σ_k dL/dq[k]", note=reset),
        ],
        da="dL/dp[t]",
    )


def _recursion(formula: str) -> Formula:
    note = (
        "The engine computes this: T steps instead of T² / 2 products. After the last step there is no later gradient."
    )
    return Formula(name="the same as a recursion", formula=formula, note=note)


def _weights(back: str, *, biases: bool = True) -> list[Formula]:
    """Return the formulas of the weights of cells in which both biases are in one sum.

    `back` is what the loss of step t contributes to the gradient of a[k].
    """
    note = f"{_UNSHOWN} {_SO_DO}" if biases else f"{_UNSHOWN} The same holds for W_hh."
    found = [
        Formula(name="dL/dW_xh", formula=f"{_SUMS} {back} x[k]ᵀ = Σ_k dL/da[k] x[k]ᵀ", note=note),
        Formula(name="dL/dW_hh", formula=f"{_SUMS} {back} h[k-1]ᵀ = Σ_k dL/da[k] h[k-1]ᵀ"),
    ]
    if biases:
        both = f"{_SUMS} {back} = Σ_k dL/da[k]"
        found += [Formula(name="dL/db_x", formula=both), Formula(name="dL/db_h", formula=both, note=_SAME_BIAS)]
    return found


CELLS: dict[str, Callable[[Any], CellFormulas]] = {
    "vanilla": _rate,
    "linear": _rate,
    "feedforward": _rate,
    "leaky": _leaky,
    "lstm": _lstm,
    "gru": _gru,
}
"""Each cell's formulas, by its type."""
