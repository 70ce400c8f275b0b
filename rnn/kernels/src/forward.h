// The forward pass of one thread's sequences: products and pointwise steps in order of time, and the readout.
#pragma once
#include "sequence.h"

namespace unroll {
namespace VARIANT {

template <class T, class Cell>
inline void Sequence<T, Cell>::forward(const Piece &piece) {
    const int64_t r = piece.r;
    pack_weights(r);
    load_alpha(r);
    for (int64_t i = 0; i < MOST_ROWS; ++i) ones[i] = 1;
    for (int64_t b = piece.b0; b < piece.b1; b += rows) {
        const int64_t n = piece.b1 - b < rows ? piece.b1 - b : rows;
        start_from(r, b, n);
        for (int64_t t = 0; t < T_; ++t) forward_step(r, t, b, n);
    }
}

template <class T, class Cell>
inline void Sequence<T, Cell>::pack_weights(int64_t r) {
    const T *W_xh = of<T>(p.weights.W_xh, r), *W_hh = of<T>(p.weights.W_hh, r);
    const T *b_x = of<T>(p.weights.b_x, r), *b_h = of<T>(p.weights.b_h, r);
    if (Cell::INTERLEAVED) {
        pack_gates<Cell::GATES>(W_xh, H * I, 1, I, I, H, W_x);
        pack_gates<Cell::GATES>(W_hh, H * H, 1, H, H, H, W_h);
    }
    clear(bias, Cell::BLOCKS * S);
    for (int g = 0; g < Cell::GATES; ++g) {
        if (!Cell::INTERLEAVED) {
            pack(hidden, W_xh + g * H * I, 1, I, I, H, W_x + g * I * S);
            pack(hidden, W_hh + g * H * H, 1, H, H, H, W_h + g * H * S);
        }
        for (int64_t i = 0; i < H; ++i) {
            if (b_x) bias[bias_at(Cell::x_block(g), i)] += b_x[g * H + i];
            if (b_h) bias[bias_at(Cell::h_block(g), i)] += b_h[g * H + i];
        }
    }
    if (O) {
        const T *W_hy = of<T>(p.weights.W_hy, r);
        clear(b_y, outputs.columns());
        std::memcpy(b_y, of<T>(p.weights.b_y, r), O * sizeof(T));
        if (O <= FEW_OUTPUTS) {
            clear(W_y, O * S);
            for (int64_t o = 0; o < O; ++o) std::memcpy(W_y + o * S, W_hy + o * H, H * sizeof(T));
        } else {
            pack(outputs, W_hy, 1, H, H, O, W_y);
        }
    }
}

template <class T, class Cell>
inline void Sequence<T, Cell>::forward_step(int64_t r, int64_t t, int64_t b, int64_t n) {
    const Step<T> s = step(r, t, b, n);
    if constexpr (Cell::INTERLEAVED) {
        interleaved_gates(s, r, t, b, n);
    } else {
        pre_activations(s, r, t, b, n);
        Cell::forward(s);
    }
    if (reads(t)) read_out(s.h, output(p.y, r, t, b), n);
}

// Computes the gates block by block.
template <class T, class Cell>
inline void Sequence<T, Cell>::pre_activations(const Step<T> &s, int64_t r, int64_t t, int64_t b, int64_t n) {
    const T *noise = p.noise ? row(p.noise, r, t, b, S) : nullptr;
    for (int block = 0; block < Cell::BLOCKS; ++block) {
        Segment<T> parts[3];
        int count = 0;
        for (int g = 0; g < Cell::GATES; ++g) {
            if (Cell::x_block(g) == block)
                parts[count++] = {row(p.x, r, t, b, p.x_row), p.x_row, W_x + g * I * S, 0, I};
            if (Cell::h_block(g) == block && (t || starts))
                parts[count++] = {s.h_before, S, W_h + g * H * S, 0, H};
        }
        if (noise) parts[count++] = {ones, 0, bias + block * S, 0, 1};
        multiply(hidden, parts, count, n, noise ? noise : bias + block * S, noise ? S : 0, s.a + block * s.block, S);
    }
}

// Computes all gates of one vector of units at a time.
template <class T, class Cell>
inline void Sequence<T, Cell>::interleaved_gates(const Step<T> &s, int64_t r, int64_t t, int64_t b, int64_t n) {
    const int64_t whole = hidden.whole * lanes<T>;
    for (int64_t unit = 0; unit < whole; unit += lanes<T>) units<Vec<T>>(s, r, t, b, n, unit);
#if VECTOR_BYTES == 64
    if (hidden.half) units<Half<T>>(s, r, t, b, n, whole);
#endif
}

// Computes one vector V of units, and each tile's nonlinearities while it is in the cache.
template <class T, class Cell>
template <class V>
inline void Sequence<T, Cell>::units(const Step<T> &s, int64_t r, int64_t t, int64_t b, int64_t n, int64_t unit) {
    constexpr int64_t WIDE = Cell::BLOCKS * lanes<T>, MOST = rows_of(Cell::BLOCKS);
    const int64_t tiles = (n + MOST - 1) / MOST;
    for (int64_t i = 0; i < tiles; ++i) {
        const int64_t m = share(n, tiles, i), count = share(n, tiles, i + 1) - m, at = m * S + unit;
        const Segment<T> parts[2] = {
            {row(p.x, r, t, b + m, p.x_row), p.x_row, W_x + unit * Cell::BLOCKS * I, WIDE, I},
            {s.h_before + m * S, S, W_h + unit * Cell::BLOCKS * H, WIDE, H},
        };
        T *a = s.a + unit * s.block + m * WIDE;
        tile_of<T, V, Cell::BLOCKS, false>(count)(parts, t || starts ? 2 : 1, bias + unit * Cell::BLOCKS, 0, a, WIDE);
        Cell::template forward<V>(count, S, a, s.c_before + at, s.c + at, s.h + at);
    }
}

template <class T, class Cell>
inline void Sequence<T, Cell>::read_out(const T *h, T *y, int64_t n) {
    if (O > FEW_OUTPUTS) {
        const Segment<T> part{h, S, W_y, 0, H};
        multiply(outputs, &part, 1, n, b_y, 0, staged, outputs.columns());
        for (int64_t i = 0; i < n; ++i) std::memcpy(y + i * O, staged + i * outputs.columns(), O * sizeof(T));
        return;
    }
    for (int64_t i = 0; i < n; ++i, h += S)
        for (int64_t o = 0; o < O; ++o) {
            Vec<T> dot{};
            for (int64_t k = 0; k < hidden.columns(); k += lanes<T>) dot += load(h + k) * load(W_y + o * S + k);
            y[i * O + o] = sum<T>(dot) + b_y[o];
        }
}

}  // namespace VARIANT
}  // namespace unroll
