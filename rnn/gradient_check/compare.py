"""The distances between gradients by hand and their references, and the answer that they make."""

from __future__ import annotations

import numpy as np

from rnn import parameters
from rnn.errors import ConfigurationError
from rnn.gradient_check import engines, formulas
from rnn.gradient_check.batch import Array, Batch, draw
from rnn.gradient_check.reference import Autograd, Reference, by_autograd, central_difference, complex_step
from unroll.contract import BiasCheck, Check, CheckRequest, Distances, EngineCheck, Tolerances

TOLERANCES = Tolerances()


def check(request: CheckRequest) -> Check:
    """Run the check. Raises ConfigurationError (not_finite) where loss or gradients overflow."""
    batch = draw(request)
    reference = by_autograd(batch)
    if not (np.isfinite(reference.loss_R).all() and np.isfinite(reference.gradients_RP).all()):
        detail = "the loss or its gradient overflows on this batch: smaller initial weights or fewer steps would help"
        raise ConfigurationError("/model", "not_finite", detail)
    moved = _moved_entries(batch, reference)
    found = [_engine(batch, engine, reference, moved) for engine in engines.available(batch)]
    return Check(
        passed=all(one.passed for one in found),
        parameters=batch.raw_RP.shape[1],
        loss=reference.loss_R.tolist(),
        engines=found,
        tolerances=TOLERANCES,
        lag_profile=reference.profile_RT.tolist(),
        biases=_biases(batch, reference),
        formulas=formulas.of(batch.network, request.loss),
        notes=_notes(batch, found),
        config=request,
    )


class _Moved:
    """What was found by moving some entries of one tensor: their columns, and derivatives [R, entries]."""

    def __init__(self, columns: Array, complex_RN: Array, difference_RN: Array) -> None:
        self.columns, self.complex_RN, self.difference_RN = columns, complex_RN, difference_RN


def _moved_entries(batch: Batch, reference: Autograd) -> dict[str, _Moved]:
    """By tensor. A difference that has a kink within its step is NaN; frozen entries have derivative zero."""
    generator = np.random.default_rng(batch.request.seed)
    replicas = [Reference(batch, r) for r in range(batch.request.replicas)]
    scale_R = np.linalg.norm(reference.unfrozen_RP, axis=1)
    frozen_RP = reference.gradients_RP != reference.unfrozen_RP
    found = {}
    for slot in parameters.layout(batch.network):
        size = slot.stop - slot.start
        columns = slot.start + np.sort(generator.permutation(size)[: batch.request.entries])
        complex_RN, difference_RN = np.zeros((2, len(replicas), len(columns)))
        for r, one in enumerate(replicas):
            for n, column in enumerate(columns):
                if frozen_RP[r, column]:
                    continue
                complex_RN[r, n] = complex_step(one, column)
                difference = central_difference(one, column, float(scale_R[r]))
                difference_RN[r, n] = np.nan if difference is None else difference
        found[slot.name] = _Moved(columns, complex_RN, difference_RN)
    return found


def _engine(batch: Batch, engine: engines.Engine, reference: Autograd, moved: dict[str, _Moved]) -> EngineCheck:
    loss_R, double_RP = engines.by_hand(batch, engine, "float64")
    _, single_RP = engines.by_hand(batch, engine, "float32")
    floor_R = TOLERANCES.floor * np.linalg.norm(reference.gradients_RP, axis=1)
    tensors = []
    for slot in parameters.layout(batch.network):
        part, at = slice(slot.start, slot.stop), moved[slot.name]
        expected_RN, hand_RN = reference.gradients_RP[:, part], double_RP[:, at.columns]
        smooth_RN = ~np.isnan(at.difference_RN)
        autograd = distance(double_RP[:, part], expected_RN, floor_R)
        single = distance(single_RP[:, part], expected_RN, floor_R)
        stepped = distance(hand_RN, at.complex_RN, floor_R)
        difference = None
        if smooth_RN.any():
            kept = np.where(smooth_RN, at.difference_RN, 0.0)
            difference = distance(np.where(smooth_RN, hand_RN, 0.0), kept, floor_R)
        tensors.append(
            Distances(
                name=slot.name,
                shape=list(slot.shape),
                norm=float(np.linalg.norm(expected_RN, axis=1).max()),
                autograd=autograd,
                float32=single,
                complex_step=stepped,
                finite_differences=difference,
                entries=len(at.columns),
                near_kinks=int((~smooth_RN).sum()),
                passed=autograd <= TOLERANCES.autograd
                and single <= TOLERANCES.float32
                and stepped <= TOLERANCES.complex_step
                and (difference is None or difference <= TOLERANCES.finite_differences),
            )
        )
    same_loss = bool(np.allclose(loss_R, reference.loss_R, rtol=TOLERANCES.autograd, atol=0))
    passed = same_loss and all(tensor.passed for tensor in tensors)
    return EngineCheck(engine=engine, loss=loss_R.tolist(), tensors=tensors, passed=passed)


def distance(found_RN: Array, expected_RN: Array, floor_R: Array) -> float:
    """‖found - expected‖ / max(‖expected‖, floor), of the replica where it is largest; huge where one is not finite.

    Without the floor a tensor whose gradient is nothing but rounding, or zero, would have no relative distance.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        apart_R = np.linalg.norm(found_RN - expected_RN, axis=1)
    size_R = np.maximum(np.linalg.norm(expected_RN, axis=1), floor_R)
    ratio_R = np.divide(apart_R, size_R, out=apart_R.copy(), where=size_R > 0)
    return float(np.nan_to_num(ratio_R, nan=1e300, posinf=1e300).max())


def _biases(batch: Batch, reference: Autograd) -> list[BiasCheck]:
    """By autograd alone, frozen or not."""
    names, H = parameters.gates(batch.network.cell), batch.network.cell.hidden_size
    found = []
    gradients = parameters.views(reference.unfrozen_RP, batch.network)
    for name, db_h in gradients.items():
        layer, _, kind = name.rpartition(".")
        if kind != "b_h":
            continue
        db_x = gradients[f"{layer}.b_x"]
        size_R = np.linalg.norm(db_x, axis=1)
        none_R = np.zeros_like(size_R)
        by_gate = {
            gate: distance(db_h[:, rows], db_x[:, rows], np.maximum(size_R * TOLERANCES.floor, none_R))
            for gate, rows in ((gate, slice(k * H, (k + 1) * H)) for k, gate in enumerate(names))
            if gate
        }
        whole = distance(db_h, db_x, none_R)
        identifiable = whole > TOLERANCES.autograd
        found.append(BiasCheck(layer=layer, distance=whole, distance_by_gate=by_gate, identifiable=identifiable))
    return found


def _notes(batch: Batch, found: list[EngineCheck]) -> list[str]:
    distances = (
        "Distances of a tensor: the norm of the difference divided by the reference's norm, of the replica where that "
        f"is largest; where the gradient is less than {TOLERANCES.floor:g} of the whole one's norm, by that."
    )
    moved = (
        f"Complex steps and finite differences move {batch.request.entries} random entries of each tensor, or all of "
        "them where there are no more; autograd is compared over every entry."
    )
    trained = (
        "Gradients are those of what is trained: constraints and a learned tau are pulled back to the raw weights, "
        "frozen weights have none. Noise is off."
    )
    said = [distances, moved, trained]
    kinks = sum(tensor.near_kinks for tensor in found[0].tensors)
    if kinks:
        said.append(
            f"{kinks} moved entries have a unit's kink within the step: no finite difference was taken there, as it "
            "would not be the derivative. The other references do not mind kinks."
        )
    if batch.request.bptt.window is not None:
        said.append(
            "The gradient is truncated: it is that of a loss in which each window's first state is held fixed. It is "
            "not the gradient of the loss itself, and the lag profile ends at each window's start."
        )
    if len(found) == 1:
        said.append("The native kernel does not run here: it was not built, or does not have this cell.")
    return said
