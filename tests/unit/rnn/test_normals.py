"""Standard normals: the bits are a promise, on every instruction set and without the kernel; and they are normal."""

from __future__ import annotations

import hashlib
from math import erf, prod, sqrt
from typing import Any

import numpy as np
import pytest

from rnn import kernels
from rnn.randomness import normals
from rnn.randomness.streams import Draws, Purpose

ADDRESS = {"seed": 3, "purpose": Purpose.BATCHES, "replicas": (0, 7)}
DIGEST = "d3200a66a4a87c67c6f65fe06c7b8ba808fa8eed69e51555759dcba4966473f1"


def drawn(n: int, step: int = 1, arrays: int = 1, **address: Any) -> np.ndarray:
    draws = Draws(**ADDRESS | address).at(step)
    out = np.empty((len((ADDRESS | address)["replicas"]), n), np.float32)
    for _ in range(arrays):
        draws.normals(out)
    return out


def without_kernel(n: int, **address: Any) -> np.ndarray:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(normals, "library", lambda: None)
        return drawn(n, **address)


def instruction_sets() -> list[str]:
    """Those that this machine has; the list of all is that of the build."""
    keys, out = np.zeros((1, 2), np.uint64), np.empty((1, 4), np.float32)
    return [name for name in ("portable", "avx2", "avx512") if normals.native(keys, 0, 0, out, instruction_set=name)]


@pytest.fixture(scope="module")
def many() -> np.ndarray:
    return drawn(1 << 22, replicas=(0,))[0].astype(np.float64)


@pytest.mark.skipif(not kernels.available(), reason="the native kernel was not built")
@pytest.mark.parametrize("n", [1, 2, 3, 127, 128, 129, 50_001])
def test_every_instruction_set_draws_the_bits_that_numpy_alone_draws(n: int):
    draws = Draws(**ADDRESS)
    expected = without_kernel(n, step=9, arrays=3).view(np.int32)
    assert {"portable", kernels.instruction_set()} <= set(instruction_sets())
    for name in instruction_sets():
        out = np.empty((2, n), np.float32)
        assert normals.native(draws._keys, 2, 9, out, instruction_set=name)
        assert np.array_equal(out.view(np.int32), expected), name


@pytest.mark.skipif(not kernels.available(), reason="the native kernel was not built")
@pytest.mark.parametrize("width", [1, 5, 100, 4097])
@pytest.mark.parametrize("threads", [1, 3])
def test_rows_apart_from_each_other_scales_and_threads_are_those_that_numpy_alone_makes(width: int, threads: int):
    """Enough of them for several threads, and chunks that end within rows."""
    rows = 100_000 // width + 1
    scale = np.random.default_rng(0).random(width).astype(np.float32)
    expected = without_kernel(rows * width, step=9).reshape(2, rows, width) * scale
    keys = Draws(**ADDRESS)._keys
    for name in instruction_sets():
        for there in (
            np.full((2, rows, width), np.nan, np.float32),
            np.full((2, rows, width + 11), np.nan, np.float32),
        ):
            out = there[..., :width]
            assert normals.native(keys, 0, 9, out, scale, threads=threads, instruction_set=name)
            assert np.array_equal(out, expected), name
            assert np.isnan(there[..., width:]).all()
            assert normals.native(keys, 0, 9, out, threads=threads, instruction_set=name)
            assert np.array_equal(out.reshape(2, -1), without_kernel(rows * width, step=9)), name


def test_memory_that_is_not_in_rows_is_filled_all_the_same():
    scale = np.array([2.0, 3.0], np.float32)
    expected = drawn(24).reshape(2, 3, 4, 2) * scale
    for out in (
        np.empty((2, 6, 4, 2), np.float32)[:, ::2],
        np.empty((2, 3, 4, 4), np.float32)[..., ::2],
        np.empty((2, 3, 4, 2)),
    ):
        Draws(**ADDRESS).at(1).normals(out, scale)
        assert np.array_equal(out, expected)


def test_the_bits_are_the_ones_that_stored_results_were_made_from():
    """If this fails, old jobs cannot be reproduced: raise rnn.training.environment.ENGINE and rnn.kernels.VERSION."""
    for values in (drawn(10_000), without_kernel(10_000)):
        assert hashlib.sha256(values.astype("<f4").tobytes()).hexdigest() == DIGEST


def test_extreme_words_give_finite_numbers_as_far_out_as_words_reach():
    ends = np.array([0, 1, 2**31, 2**32 - 1], np.uint64)
    words = (ends[:, None] << np.uint64(32) | ends).ravel()
    out = np.empty(2 * len(words), np.float32)
    normals.of_words(words[None], out[None])
    assert np.isfinite(out).all()
    assert np.abs(out).max() == pytest.approx(sqrt(2 * 32 * np.log(2)), rel=1e-6)


def test_the_transformation_is_that_of_box_and_muller_to_the_precision_of_float32():
    words = np.random.Philox(key=5).random_raw(100_000)
    out = np.empty((len(words), 2), np.float32)
    normals.of_words(words[None], out.reshape(1, -1))
    # What rounding u does near 1, where the radius is small, is no error of the polynomials.
    u = ((words & np.uint64(2**32 - 1)) // np.uint64(2) + 0.5).astype(np.float32) * 2.0**-31
    angle = 2 * np.pi * (words >> np.uint64(32)).astype(float) * 2.0**-32
    exact = np.sqrt(-2 * np.log(u))[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    np.testing.assert_allclose(out, exact, atol=3e-6)


def test_moments_are_those_of_the_normal_distribution(many: np.ndarray):
    def exact(power: int) -> int:
        return prod(range(1, power, 2)) if power % 2 == 0 else 0

    for power in range(1, 9):
        spread = sqrt((exact(2 * power) - exact(power) ** 2) / len(many))
        assert abs((many**power).mean() - exact(power)) < 5 * spread, power


def test_the_distribution_function_is_the_normal_one(many: np.ndarray):
    """Kolmogorov and Smirnov: sqrt(n) times the largest difference exceeds 1.95 once in a thousand."""
    z = np.sort(many)[::64]
    expected = np.array([(1 + erf(value / sqrt(2))) / 2 for value in z])
    difference = np.abs(expected - (np.arange(len(z)) * 64 + 0.5) / len(many)).max()
    assert sqrt(len(many)) * difference < 1.95


def test_tails_are_as_heavy_as_they_should_be_out_to_five_sigma():
    n, beyond = 0, np.zeros(4)
    for step in range(20):
        z = drawn(1 << 21, step=step, replicas=(1,))
        n += z.size
        for k, sigma in enumerate((3.0, 4.0, 4.5, 5.0)):
            beyond[k] += np.count_nonzero(np.abs(z) > sigma)
    for count, sigma in zip(beyond, (3.0, 4.0, 4.5, 5.0), strict=True):
        expected = n * (1 - erf(sigma / sqrt(2)))
        assert abs(count - expected) < 5 * sqrt(expected), sigma


def test_neighbours_steps_replicas_and_arrays_are_independent(many: np.ndarray):
    n = 1 << 18
    first, second = drawn(n, step=1).astype(np.float64)
    later = drawn(n, step=2)[0].astype(np.float64)
    next_array = drawn(n, step=1, arrays=2)[0].astype(np.float64)
    noise = drawn(n, purpose=Purpose.NOISE)[0].astype(np.float64)
    for a, b in [(first, second), (first, later), (first, next_array), (first, noise), (many[:-1], many[1:])]:
        for power in (1, 2):
            x, y = a**power - (power == 2), b**power - (power == 2)
            assert abs((x * y).mean()) < 5 * np.sqrt((x**2).mean() * (y**2).mean() / len(x))
    pairs = many.reshape(-1, 2)
    assert abs((pairs[:, 0] ** 2 * pairs[:, 1] ** 2).mean() - 1) < 5 * sqrt(8 / len(pairs))


def test_a_replicas_normals_depend_on_nothing_but_their_address():
    one = drawn(999, replicas=(7,))
    assert np.array_equal(one[0], drawn(999)[1])
    assert np.array_equal(one[0, :500], drawn(500, replicas=(7,))[0])
    draws = Draws(**ADDRESS).at(4)
    draws.normals(np.empty((2, 3), np.float32))
    next(iter(draws)).random(5)
    again = np.empty((2, 999), np.float64)
    draws.at(1).normals(again)
    assert np.array_equal(again, drawn(999).astype(np.float64))
    strided = np.zeros((2, 9, 16), np.float32)[..., :5]
    draws.at(1).normals(strided)
    assert np.array_equal(strided.reshape(2, -1), drawn(45))


@pytest.mark.parametrize("kernel", ["with the kernel", "without"])
def test_generators_beside_normals_go_on_where_they_are(monkeypatch: pytest.MonkeyPatch, kernel: str):
    if kernel == "without":
        monkeypatch.setattr(normals, "library", lambda: None)
    alone = [generator.random(3) for generator in Draws(**ADDRESS).at(2)]
    draws = Draws(**ADDRESS).at(2)
    for n in range(3):
        assert [generator.random() for generator in draws] == [values[n] for values in alone]
        draws.normals(np.empty((2, 5), np.float32))
    assert [generator.random() for generator in draws.at(2)] == [values[0] for values in alone]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_running_sum_is_the_same_with_the_kernel_and_without(monkeypatch: pytest.MonkeyPatch, dtype: str):
    x = np.random.default_rng(0).standard_normal((3, 11, 5, 2)).astype(dtype)
    one, other = np.empty_like(x), np.empty_like(x)
    normals.running_sum(x, one)
    monkeypatch.setattr(normals, "library", lambda: None)
    normals.running_sum(x, other)
    assert np.array_equal(one, other)
    np.testing.assert_allclose(one, x.cumsum(1, dtype=np.float64), atol=1e-5)
