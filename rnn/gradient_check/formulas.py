"""The equations of a network and of its gradients, written out for people. Sources: `rnn.numpy_page`, `rnn.cells`."""

from __future__ import annotations

from unroll.contract import Cell, Formula, Loss, Network

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
    "mse": "dL/dy[t] = 2 (y[t] - target[t]) / K",
    "cross_entropy": "dL/dy[t] = (softmax(y[t]) Σ_o target[t] - target[t]) / K",
    "bce": "dL/dy[t] = (sigmoid(y[t]) - target[t]) / K",
    "poisson": "dL/dy[t] = (exp(y[t]) - target[t]) / K",
}
_UNSHOWN = (
    "The course's formula, dL/dW_xh = dL/dy Σ_t ∂y/∂h[t] ∂h[t]/∂W_xh, leaves out the product of Jacobians between "
    "steps: x[k] acts not on h[k] alone but, through W_hh, on every later state. So do W_hh, b_x and b_h."
)


def of(network: Network, loss: Loss) -> list[Formula]:
    """Forward pass, how gradients travel back through time, and the gradient of each parameter."""
    cell = network.cell
    found = [
        *_cell(cell),
        Formula(name="readout", formula="y[t] = W_hy h[t] + b_y"),
        Formula(
            name="dL/dy[t]",
            formula=_LOSSES[loss.type],
            note="K: the number of elements that the mean is over; zero at steps without a target.",
        ),
        Formula(name="dL/dW_hy", formula="Σ_t dL/dy[t] h[t]ᵀ"),
        Formula(name="dL/db_y", formula="Σ_t dL/dy[t]"),
    ]
    if network.num_layers > 1:
        formula = "x of layer n is h of layer n-1, and dL/dh[t] of layer n-1 gains W_xhᵀ dL/da[t] of layer n"
        found.append(Formula(name="stacked layers", formula=formula))
    if network.vocabulary_size is not None:
        found.append(
            Formula(name="dL/dE", formula="row v: Σ dL/dx[t] over the steps whose token is v", note="x[t] = E[token]")
        )
    if network.architecture == "encoder_decoder":
        decoder = "h'[0] = h[T], u[1] = 0, u[t] = target[t-1] where forced, g(y[t-1]) where it runs free"
        found += [
            Formula(
                name="decoder", formula=decoder, note="The same cell with weights of its own; u takes the place of x."
            ),
            Formula(name="dL/dy[t] of a free decoder", formula="the loss's own + g'(y[t])ᵀ dL/du[t+1]"),
            Formula(name="dL/dh[T] of the encoder", formula="dL/dh'[0]", note="and so for c, or the potential"),
        ]
    if network.h0 == "trainable":
        found.append(Formula(name="dL/dh0", formula="dL/dh[0], summed over sequences", note="and c0 of an LSTM"))
    return found


def _cell(cell: Cell) -> list[Formula]:
    match cell.type:
        case "lstm":
            return _lstm()
        case "gru":
            return _gru()
        case "leaky":
            return _leaky(cell.leak == "rates", cell.activation, learned=cell.learn_tau != "no")
        case "linear":
            return _rate("identity", biases=False, recurrent=True)
        case "feedforward":
            return _rate(cell.activation, biases=True, recurrent=False)
        case _:
            return _rate(cell.activation, biases=True, recurrent=True)


def _rate(f: str, *, biases: bool, recurrent: bool) -> list[Formula]:
    """Vanilla, and what it is without biases or without recurrence."""
    inside = "W_xh x[t]" + (" + b_x" if biases else "") + (" + W_hh h[t-1]" if recurrent else "")
    inside += " + b_h" if biases and recurrent else ""
    found = [
        Formula(name="pre-activation", formula=f"a[t] = {inside}"),
        Formula(name="state", formula="h[t] = f(a[t])", note=f"f = {f}, {_SLOPES[f]}; D[t] = diag(f'(a[t]))"),
    ]
    if not recurrent:
        found += [
            Formula(
                name="dL/da[t]", formula="D[t] W_hyᵀ dL/dy[t]", note="No step reaches another: nothing is carried."
            ),
            Formula(name="dL/dW_xh", formula="Σ_t dL/da[t] x[t]ᵀ"),
            Formula(name="dL/db_x", formula="Σ_t dL/da[t]"),
        ]
        return found
    product = "(∏_{s=k+1..t} D[s] W_hh)"
    back = f"D[k] {product}ᵀ W_hyᵀ dL/dy[t]"
    jacobians = "the latest step leftmost; singular values below one make old gradients vanish, above one explode"
    found += [
        Formula(name="∂h[t]/∂h[k]", formula=f"{product[1:-1]}", note=jacobians),
        Formula(name="dL/dh[k]", formula=f"Σ_{{t=k..T}} {product}ᵀ W_hyᵀ dL/dy[t]"),
        Formula(
            name="the same as a recursion",
            formula="dL/dh[t] = W_hyᵀ dL/dy[t] + W_hhᵀ dL/da[t+1],  dL/da[t] = D[t] dL/dh[t],  dL/da[T+1] = 0",
            note="This is what the engine computes: T steps instead of T² / 2 products.",
        ),
        Formula(name="dL/dW_xh", formula=f"Σ_{{k=1..T}} Σ_{{t=k..T}} {back} x[k]ᵀ = Σ_k dL/da[k] x[k]ᵀ", note=_UNSHOWN),
        Formula(name="dL/dW_hh", formula=f"Σ_{{k=1..T}} Σ_{{t=k..T}} {back} h[k-1]ᵀ = Σ_k dL/da[k] h[k-1]ᵀ"),
    ]
    if biases:
        sum_ = f"Σ_{{k=1..T}} Σ_{{t=k..T}} {back} = Σ_k dL/da[k]"
        found += [Formula(name="dL/db_x", formula=sum_), Formula(name="dL/db_h", formula=sum_, note=_same_bias())]
    return found


def _leaky(rates: bool, f: str, *, learned: bool) -> list[Formula]:  # noqa: FBT001 - which of the two conventions
    found = [Formula(name="pre-activation", formula="a[t] = W_xh x[t] + b_x + W_hh h[t-1] + b_h")]
    slope = f"α = dt/τ; f = {f}, {_SLOPES[f]}; D[t] = diag(f' at step t)"
    if rates:
        found += [
            Formula(name="state", formula="h[t] = (1-α) h[t-1] + α f(a[t])", note=slope),
            Formula(name="∂h[t]/∂h[k]", formula="∏_{s=k+1..t} ((1-α) I + α D[s] W_hh)", note="latest step leftmost"),
            Formula(name="dL/dh[t]", formula="from above + (1-α) dL/dh[t+1] + W_hhᵀ dL/da[t+1]"),
            Formula(name="dL/da[t]", formula="α D[t] dL/dh[t]"),
        ]
        dalpha = "Σ_t dL/dh[t] ∘ (f(a[t]) - h[t-1])"
    else:
        found += [
            Formula(name="potential", formula="v[t] = (1-α) v[t-1] + α a[t]", note=slope),
            Formula(name="state", formula="h[t] = f(v[t])"),
            Formula(name="∂v[t]/∂v[k]", formula="∏_{s=k+1..t} ((1-α) I + α W_hh D[s-1])", note="latest step leftmost"),
            Formula(name="dL/dv[t]", formula="D[t] (from above + W_hhᵀ dL/da[t+1]) + (1-α) dL/dv[t+1]"),
            Formula(name="dL/da[t]", formula="α dL/dv[t]"),
        ]
        dalpha = "Σ_t dL/dv[t] ∘ (v[t] - v[t-1])/α"
    found += _weights("dL/da[t]")
    if learned:
        note = "τ = dt (1 + e^-θ) with θ trained, so τ > dt; dL/dθ = dL/dτ (dt - τ)"
        found.append(Formula(name="dL/dτ", formula=f"-α/τ {dalpha}", note=note))
    return found


def _lstm() -> list[Formula]:
    return [
        Formula(name="pre-activation", formula="a[t] = W_xh x[t] + b_x + W_hh h[t-1] + b_h", note="blocks i, f, g, o"),
        Formula(name="gates", formula="i, f, o = sigmoid(a_i), sigmoid(a_f), sigmoid(a_o);  g = tanh(a_g)"),
        Formula(name="cell state", formula="c[t] = f ∘ c[t-1] + i ∘ g"),
        Formula(name="state", formula="h[t] = o ∘ tanh(c[t])"),
        Formula(
            name="dL/dc[t]",
            formula="dL/dh[t] ∘ o ∘ (1 - tanh(c[t])²) + f[t+1] ∘ dL/dc[t+1]",
            note="Along c alone the product of Jacobians is ∏ diag(f[s]): near one where the forget gate is open.",
        ),
        Formula(
            name="dL/da[t]",
            formula="i: dc ∘ g ∘ i(1-i);  f: dc ∘ c[t-1] ∘ f(1-f);  g: dc ∘ i ∘ (1-g²);  o: dh ∘ tanh(c[t]) ∘ o(1-o)",
        ),
        Formula(name="dL/dh[t]", formula="from above + W_hhᵀ dL/da[t+1]"),
        *_weights("dL/da[t]"),
    ]


def _gru() -> list[Formula]:
    reset = (
        "b_h of the candidate n stands inside r ∘ (…), so its gradient is scaled by the reset gate and differs from "
        "that of b_x: there, and only there, the two biases can be told apart."
    )
    return [
        Formula(name="input", formula="p[t] = W_xh x[t] + b_x", note="blocks r, z, n"),
        Formula(name="recurrent", formula="q[t] = W_hh h[t-1] + b_h", note="blocks r, z, n"),
        Formula(name="gates", formula="r = sigmoid(p_r + q_r);  z = sigmoid(p_z + q_z);  n = tanh(p_n + r ∘ q_n)"),
        Formula(name="state", formula="h[t] = (1-z) ∘ n + z ∘ h[t-1]"),
        Formula(name="dL/dp_n, dL/dq_n", formula="dp_n = dh ∘ (1-z) ∘ (1-n²);  dq_n = r ∘ dp_n"),
        Formula(name="dL/dp_r = dL/dq_r", formula="dp_n ∘ q_n ∘ r(1-r)"),
        Formula(name="dL/dp_z = dL/dq_z", formula="dh ∘ (h[t-1] - n) ∘ z(1-z)"),
        Formula(name="dL/dh[t-1]", formula="from above + z ∘ dL/dh[t] + W_hhᵀ dL/dq[t]"),
        Formula(name="dL/dW_xh", formula="Σ_t dL/dp[t] x[t]ᵀ", note=_UNSHOWN),
        Formula(name="dL/db_x", formula="Σ_t dL/dp[t]"),
        Formula(name="dL/dW_hh", formula="Σ_t dL/dq[t] h[t-1]ᵀ"),
        Formula(name="dL/db_h", formula="Σ_t dL/dq[t]", note=reset),
    ]


def _weights(da: str) -> list[Formula]:
    """Of cells in which both biases stand in one sum."""
    return [
        Formula(name="dL/dW_xh", formula=f"Σ_t {da} x[t]ᵀ", note=_UNSHOWN),
        Formula(name="dL/dW_hh", formula=f"Σ_t {da} h[t-1]ᵀ"),
        Formula(name="dL/db_x", formula=f"Σ_t {da}"),
        Formula(name="dL/db_h", formula=f"Σ_t {da}", note=_same_bias()),
    ]


def _same_bias() -> str:
    return (
        "The same as dL/db_x: both biases stand in one sum, so the loss depends on b_x + b_h alone. Only that sum can "
        "be found from data; training moves both by the same amount and keeps their difference."
    )
