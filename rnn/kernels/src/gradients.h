// Gradients of the weights: summed over chunks of time steps while dL/da and h are in the cache, then written out.
#pragma once
#include "sequence.h"

namespace unroll {
namespace VARIANT {

// Adds the weight gradients of time steps t0 … t1-1, for n rows from `first` in the block that begins at sequence b.
template <class T, class Cell>
inline void Sequence<T, Cell>::accumulate(int64_t r, int64_t t0, int64_t t1, int64_t b, int64_t first, int64_t n) {
    Segment<T> parts[MOST_SEGMENTS] = {};
    for (int g = 0; g < Cell::GATES; ++g) {
        int count = 0;
        for (int64_t t = t0; t < t1; ++t)
            if (t || starts)
                parts[count++] = {da(t) + (Cell::h_block(g) * rows + first) * S, S,
                                  t ? h(r, t - 1, b + first) : h_before + first * S, S, n};
        if (count) multiply_transposed(hidden, parts, count, H, dW_h + g * H * S, S);
        count = 0;
        for (int64_t t = t0; t < t1; ++t)
            parts[count++] = {row(p.x, r, t, b + first, p.x_row), p.x_row,
                              da(t) + (Cell::x_block(g) * rows + first) * S, S, n};
        multiply_transposed(hidden, parts, count, I, dW_x + g * I * S, S);
    }
    for (int block = 0; block < Cell::BLOCKS; ++block)
        for (int64_t t = t0; t < t1; ++t) add_rows(da(t) + (block * rows + first) * S, n, db + block * S);
    if (!reads(t1 - 1)) return;
    if (t0 < p.first_output) t0 = p.first_output;
    int count = 0;
    for (int64_t t = t0; t < t1; ++t)
        parts[count++] = {output(p.dy, r, t, b + first), O, h(r, t, b + first), S, n};
    multiply_transposed(hidden, parts, count, O, dW_y, S);
    for (int64_t t = t0; t < t1; ++t) {
        const T *dy = output(p.dy, r, t, b + first);
        for (int64_t i = 0; i < n; ++i)
            for (int64_t o = 0; o < O; ++o) db_y[o] += dy[i * O + o];
    }
}

template <class T, class Cell>
inline void Sequence<T, Cell>::add_rows(const T *from, int64_t n, T *to) const {
    for (int64_t k = 0; k < hidden.columns(); k += lanes<T>) {
        Vec<T> part[4] = {load(to + k)};  // four sums, because each addition waits for the one before it
        int64_t i = 0;
        for (; i + 4 <= n; i += 4)
            for (int j = 0; j < 4; ++j) part[j] += load(from + (i + j) * S + k);
        for (; i < n; ++i) part[0] += load(from + i * S + k);
        store(to + k, (part[0] + part[1]) + (part[2] + part[3]));
    }
}

template <class T, class Cell>
inline void Sequence<T, Cell>::put(const Tensor &to, int64_t M, int64_t N, const T *from, int64_t m_stride, int64_t n_stride) const {
    T *out = static_cast<T *>(to.data);
    if (!out) return;
    for (int64_t m = 0; m < M; ++m)
        for (int64_t n = 0; n < N; ++n) out[m * N + n] = from[m * m_stride + n * n_stride];
}

template <class T, class Cell>
inline void Sequence<T, Cell>::write(const Tensors &to) const {
    for (int g = 0; g < Cell::GATES; ++g) {
        put(gate(to.W_hh, g * H * H), H, H, dW_h + g * H * S, S, 1);
        put(gate(to.W_xh, g * H * I), H, I, dW_x + g * I * S, 1, S);
        put(gate(to.b_x, g * H), 1, H, db + Cell::x_block(g) * S, 0, 1);
        put(gate(to.b_h, g * H), 1, H, db + Cell::h_block(g) * S, 0, 1);
    }
    put(to.W_hy, O, H, dW_y, S, 1);
    put(to.b_y, 1, O, db_y, 0, 1);
    put(to.alpha, 1, H, dalpha, 0, 1);
}

}  // namespace VARIANT
}  // namespace unroll
