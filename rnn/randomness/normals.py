"""Standard normals with the same bits everywhere, with or without the native kernel. NumPy only.

The Box-Muller transform (1958) of the 64-bit words of Philox; one word makes two normals:

    u = (⌊low half / 2⌋ + 1/2) 2^-31      θ = 2π 2^-32 (high half, as a signed number)
    z = sqrt(-2 log u) (cos θ, sin θ)

All of it is float32; |z| is at most 6.6. The logarithm, sine and cosine are polynomials, fitted to the ranges on which
they are used (least maximum error, below 2e-7). The whole therefore consists of sums, products, square roots and
conversions, which IEEE 754 rounds in only one way. `rnn/kernels/src/normals.cpp` does the same operations in the same
order.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rnn.kernels.abi import CNormals, library

Float32 = npt.NDArray[np.float32]
Words = npt.NDArray[np.uint64]

_CHUNK = 1 << 13
"""Number of words that are transformed at once, so that intermediate results stay in the cache."""
# Coefficients, highest power first: -2 log(1 + f)/f in f; (sin x/x - 1)/x² and (cos x - 1)/x² in x².
_LOG = (
    0.20213785767555237,
    -0.32445159554481506,
    0.34501659870147705,
    -0.39800330996513367,
    0.4993981719017029,
    -0.6667011976242065,
    1.0000072717666626,
    -1.9999998807907104,
)
_SINE = (-0.0001951729936990887, 0.008332177996635437, -0.16666655242443085)
_COSINE = (-0.0013591853203251958, 0.041655778884887695, -0.4999988377094269)
_MINUS_2_LOG_2 = np.float32(-1.3862943649291992)
_ANGLE = np.float32(1.4629180651604429e-09)
"""Factor from integers to angles: 2^30 becomes π/2."""
_ROOT_HALF = 0x3F3504F3
"""The bits of sqrt(1/2)."""


def of_words(words_RN: Words, out_RN: Float32) -> None:
    """Fill each row of `out_RN` with normals made from half as many words, rounded up."""
    R, N = words_RN.shape
    size = max(1, _CHUNK // R)
    for start in range(0, N, size):
        pairs = _transformed(words_RN[:, start : start + size])
        part = out_RN[:, 2 * start : 2 * (start + size)]
        part[...] = pairs.reshape(R, -1)[:, : part.shape[1]]


def native(
    keys: Words,
    array: int,
    step: int,
    out: Float32,
    scale: Float32 | None = None,
    *,
    threads: int = 1,
    instruction_set: str = "",
) -> bool:
    """Fill `out` [R, …] with the native kernel, for keys [R, 2] and the counters of `rnn.randomness.streams`.

    If `scale` is given, multiply by it; it is as long as the last axis. Returns False, and fills nothing, if there is
    no kernel, if it lacks the instruction set, or if the memory does not suit it: the last axis must be contiguous, and
    the rows of a replica must lie at equal distances.
    """
    kernel, row = library(), _row(out)
    if kernel is None or row is None:
        return False
    assert scale is None or scale.shape == out.shape[-1:]  # noqa: S101 - the kernel computes addresses
    width = out.shape[-1]
    rows = out[0].size // width
    factors = None if scale is None else scale.ctypes.data
    of = CNormals(
        keys.ctypes.data, array, step, len(keys), rows, width, out.strides[0] // 4, row, out.ctypes.data, factors
    )
    return bool(kernel.unroll_normals(of, threads, instruction_set.encode()))


def running_sum(x_RTBI: npt.NDArray[Any], sum_RTBI: npt.NDArray[Any]) -> None:
    """Return sum[t] = x[1] + … + x[t], added in this order, in the dtype of the arrays."""
    kernel = library()
    R, T, B, I = x_RTBI.shape  # noqa: E741
    arrays = (x_RTBI, sum_RTBI)
    if kernel is not None and all(a.dtype == np.float32 and a.flags.c_contiguous for a in arrays):
        kernel.unroll_running_sum(x_RTBI.ctypes.data, sum_RTBI.ctypes.data, R, T, B * I)
        return
    # Step by step over all replicas at once: twice as fast as np.cumsum, which walks along the strided axis.
    sum_RTBI[:, 0] = x_RTBI[:, 0]
    for t in range(1, T):
        np.add(sum_RTBI[:, t - 1], x_RTBI[:, t], out=sum_RTBI[:, t])


def _row(out: Float32) -> int | None:
    """Return the distance between neighbouring rows of [R, …, width], in numbers, or None if it varies."""
    strides = [stride // 4 for stride in out.strides]
    regular = all(strides[i] == strides[i + 1] * out.shape[i + 1] for i in range(1, out.ndim - 2))
    if out.dtype != np.float32 or out.size == 0 or strides[-1] != 1 or not regular:
        return None
    return strides[-2] if out.ndim > 2 else out.shape[-1]


def _transformed(words: Words) -> Float32:
    low, high = (words & np.uint64(0xFFFFFFFF)).astype(np.uint32), (words >> np.uint64(32)).astype(np.uint32)
    u = ((low >> 1).view(np.int32).astype(np.float32) + np.float32(0.5)) * np.float32(2.0**-31)
    bits = u.view(np.int32) - np.int32(_ROOT_HALF)
    f = ((bits & 0x7FFFFF) + np.int32(_ROOT_HALF)).view(np.float32) - np.float32(1)
    radius = np.sqrt(_polynomial(_LOG, f) * f + (bits >> 23).astype(np.float32) * _MINUS_2_LOG_2)
    quadrant = (high + np.uint32(1 << 29)) >> 30
    x = (high - (quadrant << 30)).view(np.int32).astype(np.float32) * _ANGLE
    z = x * x
    sine = (_polynomial(_SINE, z) * z * x + x).view(np.uint32)
    cosine = _polynomial((*_COSINE, 1.0), z).view(np.uint32)
    # The quadrant's odd bit exchanges sine and cosine, its others are their signs. By bits: np.where costs five times.
    exchanged = (sine ^ cosine) & -(quadrant & 1)
    pairs = np.empty((*words.shape, 2), np.float32)
    np.multiply(radius, (cosine ^ exchanged ^ ((quadrant + 1) >> 1 << 31)).view(np.float32), out=pairs[..., 0])
    np.multiply(radius, (sine ^ exchanged ^ (quadrant >> 1 << 31)).view(np.float32), out=pairs[..., 1])
    return pairs


def _polynomial(coefficients: tuple[float, ...], x: Float32) -> Float32:
    value = x * np.float32(coefficients[0])
    for coefficient in coefficients[1:-1]:
        value += np.float32(coefficient)
        value *= x
    value += np.float32(coefficients[-1])
    return value
