"""Measures the distances between hand-written gradients and their references, and makes the answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from rnn.cells.facts import facts
from rnn.errors import ConfigurationError
from rnn.gradient_check import engines, formulas
from rnn.gradient_check.batch import Array, CheckBatch, draw
from rnn.gradient_check.reference import Autograd, Reference, by_autograd, central_difference, complex_step, step_of
from rnn.networks import parameters
from unroll.contract import BiasCheck, Check, CheckRequest, Distances, EngineCheck, Tolerances

TOLERANCES = Tolerances()
_HUGE = 1e300
"""Reported instead of a non-finite number, which JSON cannot represent."""


def check(request: CheckRequest) -> Check:
    """Run the check. Raises ConfigurationError (not_finite) if the loss or the gradients overflow."""
    batch = draw(request)
    reference = by_autograd(batch)
    if not _finite(reference):
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
        formulas=formulas.of(batch.network, request.loss, request.bptt.window),
        notes=_notes(batch, found, reference),
        config=request,
    )


def _finite(reference: Autograd) -> bool:
    """Return whether the norms are finite. Norms are sums of squares and overflow long before gradients do."""
    with np.errstate(over="ignore", invalid="ignore"):
        norm_R = np.linalg.norm(reference.unfrozen_RP, axis=1)
    return all(np.isfinite(one).all() for one in (reference.loss_R, reference.size_R, norm_R, reference.profile_RT))


@dataclass(frozen=True)
class _Moved:
    """Results of moving some entries of one tensor: their columns, and derivatives [R, entries]."""

    columns: Array
    complex_RN: Array
    difference_RN: Array
    kinked_RN: Array
    """Entries for which no finite difference was taken because a kink is near."""


def _moved_entries(batch: CheckBatch, reference: Autograd) -> dict[str, _Moved]:
    """Compute the derivatives of the drawn entries of each tensor. Frozen entries have derivative zero."""
    generator = np.random.default_rng(batch.request.seed)
    replicas = [Reference(batch, r) for r in range(batch.request.replicas)]
    scale_R = np.linalg.norm(reference.unfrozen_RP, axis=1)
    frozen_RP = reference.gradients_RP != reference.unfrozen_RP
    found = {}
    for slot in parameters.layout(batch.network):
        size = slot.stop - slot.start
        columns = slot.start + np.sort(generator.permutation(size)[: batch.request.entries])
        complex_RN, difference_RN = np.zeros((2, len(replicas), len(columns)))
        kinked_RN = np.zeros((len(replicas), len(columns)), bool)
        for r, one in enumerate(replicas):
            for n, column in enumerate(columns):
                if frozen_RP[r, column]:
                    continue
                complex_RN[r, n] = complex_step(one, column)
                difference = central_difference(one, column, float(scale_R[r]))
                difference_RN[r, n], kinked_RN[r, n] = difference or 0.0, difference is None
        found[slot.name] = _Moved(columns, complex_RN, difference_RN, kinked_RN)
    return found


def _engine(
    batch: CheckBatch, engine: engines.CheckedEngine, reference: Autograd, moved: dict[str, _Moved]
) -> EngineCheck:
    loss_R, double_RP = engines.by_hand(batch, engine, "float64")
    _, single_RP = engines.by_hand(batch, engine, "float32")
    exact_R, single_R, stepped_R, difference_R = _floors(batch, reference)
    tensors = []
    for slot in parameters.layout(batch.network):
        part, at = slice(slot.start, slot.stop), moved[slot.name]
        expected_RN, hand_RN = reference.gradients_RP[:, part], double_RP[:, at.columns]
        autograd = distance(double_RP[:, part], expected_RN, exact_R)
        single = distance(single_RP[:, part], expected_RN, single_R)
        stepped = distance(hand_RN, at.complex_RN, stepped_R)
        difference = None
        if not at.kinked_RN.all():
            difference = distance(np.where(at.kinked_RN, 0.0, hand_RN), at.difference_RN, difference_R)
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
                near_kinks=int(at.kinked_RN.sum()),
                passed=autograd <= TOLERANCES.autograd
                and single <= TOLERANCES.float32
                and stepped <= TOLERANCES.complex_step
                and (difference is None or difference <= TOLERANCES.finite_differences),
            )
        )
    passed = _same_loss(loss_R, reference) and all(tensor.passed for tensor in tensors)
    loss = np.nan_to_num(loss_R, nan=_HUGE, posinf=_HUGE, neginf=-_HUGE).tolist()
    return EngineCheck(engine=engine, loss=loss, tensors=tensors, passed=passed)


def _same_loss(loss_R: Array, reference: Autograd) -> bool:
    floor_R = _rounding(reference.size_R) / TOLERANCES.autograd
    return distance(loss_R[:, None], reference.loss_R[:, None], floor_R) <= TOLERANCES.autograd


def _floors(batch: CheckBatch, reference: Autograd) -> tuple[Array, Array, Array, Array]:
    """Return the least norms that distances are relative to, [R]: one array for each kind of reference.

    The references are autograd in float64 and in float32, complex steps, and differences. Each norm is a fraction of
    the whole gradient's norm, or, if the whole gradient is only rounding error, the size that this error may have. A
    difference of losses is rounded as the losses are, and then divided by the step.
    """
    whole_R, size_R = TOLERANCES.floor * np.linalg.norm(reference.gradients_RP, axis=1), reference.size_R
    rounding = (
        _rounding(size_R) / TOLERANCES.autograd,
        _rounding(size_R, np.float32) / TOLERANCES.float32,
        _rounding(size_R) / TOLERANCES.complex_step,
        _rounding(size_R) / step_of(batch.network) / TOLERANCES.finite_differences,
    )
    exact, single, stepped, difference = (np.maximum(whole_R, floor_R) for floor_R in rounding)
    return exact, single, stepped, difference


def _rounding(size_R: Array, dtype: type[np.floating[Any]] = np.float64) -> Array:
    """Return the possible rounding error of a sum whose terms add up to `size_R` in absolute value."""
    return np.asarray(size_R * float(np.finfo(dtype).eps))


def distance(found_RN: Array, expected_RN: Array, floor_R: Array) -> float:
    """Return ‖found - expected‖ / max(‖expected‖, floor), for the replica where it is largest.

    A result that is not finite becomes a huge number. Without the floor, a tensor whose gradient is zero or only
    rounding error would have no relative distance.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        apart_R = np.linalg.norm(found_RN - expected_RN, axis=1)
        size_R = np.maximum(np.linalg.norm(expected_RN, axis=1), floor_R)
        ratio_R = np.divide(apart_R, size_R, out=apart_R.copy(), where=size_R > 0)
    return float(np.nan_to_num(ratio_R, nan=_HUGE, posinf=_HUGE).max())


def _biases(batch: CheckBatch, reference: Autograd) -> list[BiasCheck]:
    """Compare the gradients of the two biases by autograd alone, whether they are frozen or not."""
    about = facts(batch.network.cell)
    names, H = about.gates, about.hidden_size
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


def _notes(batch: CheckBatch, found: list[EngineCheck], reference: Autograd) -> list[str]:
    distances = (
        "Distances of a tensor: the norm of the difference divided by the reference's norm, of the replica where that "
        f"is largest; where the gradient is less than {TOLERANCES.floor:g} of the whole one's norm, by that; and by no "
        "less than what rounding of the loss's terms may come to."
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
    if (unfollowed := _unfollowed(found, reference)) is not None:
        said.append(unfollowed)
    if len(found) == 1:
        said.append("The native kernel does not run here: it was not built, or does not have this cell.")
    return said


def _unfollowed(found: list[EngineCheck], reference: Autograd) -> str | None:
    """Explain a failed check in which autograd and complex steps agree with the gradient."""
    tensors = [tensor for engine in found for tensor in engine.tensors]
    failed = [tensor for tensor in tensors if not tensor.passed]
    exact = all(
        one.autograd <= TOLERANCES.autograd and (one.complex_step or 0.0) <= TOLERANCES.complex_step for one in tensors
    )
    if not failed or not exact or not all(_same_loss(np.asarray(engine.loss), reference) for engine in found):
        return None
    causes = []
    if any((one.finite_differences or 0.0) > TOLERANCES.finite_differences for one in failed):
        causes.append("the loss bends so much within a finite difference's step that the difference is no derivative")
    if any(one.float32 > TOLERANCES.float32 for one in failed):
        causes.append("float32 has too few digits, or too small a range, for what this network multiplies up")
    return (
        "It failed by finite differences or float32 alone. Autograd and complex steps agree with backpropagation by "
        "hand to rounding, in float64 and for every tensor: the derivation is right. It is this network's conditioning "
        f"that the others cannot follow: {'; and '.join(causes)}. Smaller weights or fewer steps would help."
    )
