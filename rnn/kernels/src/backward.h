// The backward pass of one thread's sequences, from the last time step to the first.
#pragma once
#include "gradients.h"

namespace unroll {
namespace VARIANT {

template <class T, class Cell>
inline void Sequence<T, Cell>::backward(const Piece &piece, const Tensors &to) {
    const int64_t r = piece.r;
    const T *W_xh = of<T>(p.weights.W_xh, r), *W_hh = of<T>(p.weights.W_hh, r);
    for (int g = 0; g < Cell::GATES; ++g) {
        pack(hidden, W_hh + g * H * H, H, 1, H, H, W_h_back + g * H * S);
        if (p.dx) pack(inputs, W_xh + g * H * I, I, 1, H, I, W_x_back + g * H * inputs.columns());
    }
    if (O) pack(hidden, of<T>(p.weights.W_hy, r), H, 1, O, H, W_y_back);
    load_alpha(r);
    clear(dalpha, S);
    clear(ring, (steps + 1) * Cell::BLOCKS * rows * S);
    clear(dh, rows * S);
    clear(dW_h, Cell::GATES * H * S);
    clear(dW_x, Cell::GATES * I * S);
    clear(db, Cell::BLOCKS * S);
    clear(dW_y, O * S);
    clear(db_y, O);
    for (int64_t b = piece.b0; b < piece.b1; b += rows) {
        const int64_t n = piece.b1 - b < rows ? piece.b1 - b : rows;
        start_from(r, b, n);
        clear(carry, rows * S);
        clear(dc, rows * S);
        for (int64_t t = T_ - 1, last = t; t >= 0; --t) {
            backward_step(r, t, b, n);
            if (t == 0 || last - t + 1 == steps) {
                for (int64_t first = 0; first < n; first += CHUNK_ROWS)
                    accumulate(r, t, last + 1, b, first, n - first < CHUNK_ROWS ? n - first : CHUNK_ROWS);
                last = t - 1;
            }
        }
        if (p.dh_first || p.dc_first) to_start(r, b, n);
    }
    write(to);
}

// Writes dL/dh[t] to `out`, without the part that the cell itself carries back.
template <class T, class Cell>
inline void Sequence<T, Cell>::into_state(int64_t r, int64_t t, int64_t b, int64_t n, T *out) {
    Segment<T> parts[Cell::GATES + 1];
    int count = 0;
    if (t + 1 < T_)
        for (int g = 0; g < Cell::GATES; ++g)
            parts[count++] = {da(t + 1) + Cell::h_block(g) * rows * S, S, W_h_back + g * H * S, 0, H};
    if (reads(t)) parts[count++] = {output(p.dy, r, t, b), O, W_y_back, 0, O};
    const T *start = Cell::CARRIES ? carry : nullptr;
    multiply(hidden, parts, count, n, start, S, out, S);
    if (p.dh && t >= 0) {
        const T *from = row(p.dh, r, t, b, p.dh_row);
        for (int64_t i = 0; i < n; ++i)
            for (int64_t k = 0; k < H; ++k) out[i * S + k] += from[i * p.dh_row + k];
    }
}

template <class T, class Cell>
inline void Sequence<T, Cell>::backward_step(int64_t r, int64_t t, int64_t b, int64_t n) {
    Step<T> s = step(r, t, b, n);
    s.da = da(t);
    s.dh = Cell::IN_PLACE ? s.da : dh;
    s.carry = carry;
    s.dc = dc;
    s.dalpha = p.gradients.alpha.data ? dalpha : nullptr;
    into_state(r, t, b, n, s.dh);
    if (p.dc) {
        const T *from = row(p.dc, r, t, b, S);
        for (int64_t i = 0; i < n * S; i += lanes<T>) store(dc + i, load(dc + i) + load(from + i));
    }
    Cell::backward(s);
    if (!p.dx) return;
    Segment<T> parts[Cell::GATES];
    for (int g = 0; g < Cell::GATES; ++g)
        parts[g] = {s.da + Cell::x_block(g) * rows * S, S, W_x_back + g * H * inputs.columns(), 0, H};
    multiply(inputs, parts, Cell::GATES, n, static_cast<const T *>(nullptr), 0, staged, inputs.columns());
    T *dx = row(p.dx, r, t, b, p.dx_row);
    for (int64_t i = 0; i < n; ++i) std::memcpy(dx + i * p.dx_row, staged + i * inputs.columns(), I * sizeof(T));
}

template <class T, class Cell>
inline void Sequence<T, Cell>::to_start(int64_t r, int64_t b, int64_t n) {
    into_state(r, -1, b, n, dh);
    if (Cell::POTENTIALS) {
        times_slope(p.activation, rates, n * S, dh);
        for (int64_t i = 0; i < n * S; ++i) dh[i] += dc[i];
    }
    const int64_t at = (r * B + b) * S;
    if (Cell::POTENTIALS) {
        std::memcpy(static_cast<T *>(p.dc_first) + at, dh, n * S * sizeof(T));
        return;
    }
    std::memcpy(static_cast<T *>(p.dh_first) + at, dh, n * S * sizeof(T));
    if (p.dc_first) std::memcpy(static_cast<T *>(p.dc_first) + at, dc, n * S * sizeof(T));
}

}  // namespace VARIANT
}  // namespace unroll
