// A recurrent layer with its readout over whole sequences, for the sequences that one thread has.
//
// Forward, for t = 1 … T: the pre-activations are one product over two segments, W_xh x[t] and W_hh h[t-1], started from
// the biases; then the cell's pointwise step; then the readout, while h[t] is in the cache. Backward, for t = T … 1:
// dL/dh[t] is one product over W_hhᵀ dL/da[t+1] and W_hyᵀ dL/dy[t]; then the pointwise step. dL/da lives in a ring of a
// few time steps, from which weight gradients are accumulated as soon as a chunk of rows is complete: it never reaches
// main memory.
#pragma once
#include "cells.h"
#include "gemm.h"
#include "kernel.h"

namespace unroll {
namespace VARIANT {

constexpr int64_t MOST_ROWS = 128;  // sequences worked on together: their h[t], h[t-1] and dL/da stay in the cache
constexpr int64_t CHUNK_ROWS = 96;  // rows of dL/da and h that one update of the weight gradients runs over
constexpr int64_t FEW_OUTPUTS = 4;  // up to here the readout is a dot product along h

// Hands out aligned pieces of the scratch memory; with begin == nullptr it only counts.
struct Arena {
    char *begin;
    int64_t used = 0;
    template <class T> T *take(int64_t n) {
        char *here = begin + used;
        used += up(n * int64_t(sizeof(T)), 64);
        return begin ? reinterpret_cast<T *>(here) : nullptr;
    }
};

template <class T> T *of(const Tensor &tensor, int64_t r) {
    return tensor.data ? static_cast<T *>(tensor.data) + r * tensor.stride : nullptr;
}
template <class T> void clear(T *p, int64_t n) { std::memset(p, 0, n * sizeof(T)); }

template <class T, class Cell> struct Sequence {
    const Problem &p;
    const int64_t T_, B, I, H, O, S;
    const Panels<T> hidden, inputs, outputs;
    int64_t rows;   // at most, of one block
    int64_t steps;  // time steps in a chunk of the backward pass

    // scratch, shared by both passes
    T *zeros, *staged, *ones, *rates;
    // forward
    T *W_x, *W_h, *bias, *W_y, *b_y;
    // backward
    T *W_h_back, *W_y_back, *W_x_back, *ring, *dh, *carry, *dc, *dW_h, *dW_x, *db, *dW_y, *db_y;

    Sequence(const Problem &problem, int64_t piece_rows)
        : p(problem), T_(p.T), B(p.B), I(p.I), H(p.H), O(p.O), S(p.S), hidden(H), inputs(I), outputs(O) {
        const int64_t blocks = (piece_rows + MOST_ROWS - 1) / MOST_ROWS;
        rows = (piece_rows + blocks - 1) / blocks;
        steps = CHUNK_ROWS / rows;
        if (steps < 1) steps = 1;
        if (steps > MOST_SEGMENTS) steps = MOST_SEGMENTS;
        if (steps > T_) steps = T_;
    }

    void common(Arena &arena) {
        const int64_t wide = inputs.columns() > outputs.columns() ? inputs.columns() : outputs.columns();
        zeros = arena.take<T>(rows * S);
        rates = arena.take<T>(rows * S);
        staged = arena.take<T>(rows * wide);
        ones = arena.take<T>(MOST_ROWS);
    }
    int64_t forward_layout(Arena arena) {
        common(arena);
        W_x = arena.take<T>(Cell::GATES * I * S);
        W_h = arena.take<T>(Cell::GATES * H * S);
        bias = arena.take<T>(Cell::BLOCKS * S);
        W_y = arena.take<T>(O <= FEW_OUTPUTS ? O * S : H * outputs.columns());
        b_y = arena.take<T>(outputs.columns());
        return arena.used;
    }
    int64_t backward_layout(Arena arena) {
        common(arena);
        W_h_back = arena.take<T>(Cell::GATES * H * S);
        W_y_back = arena.take<T>(O * S);
        W_x_back = arena.take<T>(p.dx ? Cell::GATES * H * inputs.columns() : 0);
        ring = arena.take<T>((steps + 1) * Cell::BLOCKS * rows * S);
        dh = arena.take<T>(rows * S);
        carry = arena.take<T>(rows * S);
        dc = arena.take<T>(rows * S);
        dW_h = arena.take<T>(Cell::GATES * H * S);
        dW_x = arena.take<T>(Cell::GATES * I * S);
        db = arena.take<T>(Cell::BLOCKS * S);
        dW_y = arena.take<T>(O * S);
        db_y = arena.take<T>(O);
        return arena.used;
    }

    T *row(void *base, int64_t r, int64_t t, int64_t b, int64_t width) const {
        return static_cast<T *>(base) + ((r * T_ + t) * B + b) * width;
    }
    bool reads(int64_t t) const { return O && t >= p.first_output; }
    T *output(void *base, int64_t r, int64_t t, int64_t b) const {
        return static_cast<T *>(base) + ((r * (T_ - p.first_output) + t - p.first_output) * B + b) * O;
    }
    T *h(int64_t r, int64_t t, int64_t b) const { return row(p.h, r, t, b, S); }
    T *blocks(int64_t r, int64_t t, int64_t b) const {
        return Cell::KEEPS_BLOCKS ? static_cast<T *>(p.gates) + ((r * T_ + t) * Cell::BLOCKS * B + b) * S : h(r, t, b);
    }

    // The state before the first step, of n sequences from b. Whether W_hh acts on it at all: zeros are left out.
    bool starts;
    const T *h_before, *c_before;
    void start_from(int64_t r, int64_t b, int64_t n) {
        clear(zeros, rows * S);
        h_before = p.h_first ? static_cast<T *>(p.h_first) + (r * B + b) * S : zeros;
        c_before = p.c_first ? static_cast<T *>(p.c_first) + (r * B + b) * S : zeros;
        starts = p.h_first || (Cell::POTENTIALS && (p.c_first || p.activation == SIGMOID));
        if (Cell::POTENTIALS) {
            activate(p.activation, c_before, n * S, rates);
            h_before = rates;
        }
    }

    Step<T> step(int64_t r, int64_t t, int64_t b, int64_t n) const {
        Step<T> s{};
        s.n = n * S;
        s.block = B * S;
        s.da_block = rows * S;
        s.activation = p.activation;
        s.alpha = static_cast<const T *>(p.alpha);
        s.width = S;
        s.a = blocks(r, t, b);
        s.h = h(r, t, b);
        s.h_before = t ? h(r, t - 1, b) : h_before;
        if (p.c) {
            s.c = row(p.c, r, t, b, S);
            s.c_before = t ? row(p.c, r, t - 1, b, S) : c_before;
        }
        return s;
    }

    void forward(const Piece &piece) {
        const int64_t r = piece.r;
        const T *W_xh = of<T>(p.weights.W_xh, r), *W_hh = of<T>(p.weights.W_hh, r);
        const T *b_x = of<T>(p.weights.b_x, r), *b_h = of<T>(p.weights.b_h, r);
        clear(bias, Cell::BLOCKS * S);
        for (int g = 0; g < Cell::GATES; ++g) {
            pack(hidden, W_xh + g * H * I, 1, I, I, H, W_x + g * I * S);
            pack(hidden, W_hh + g * H * H, 1, H, H, H, W_h + g * H * S);
            for (int64_t i = 0; i < H; ++i) {
                if (b_x) bias[Cell::x_block(g) * S + i] += b_x[g * H + i];
                if (b_h) bias[Cell::h_block(g) * S + i] += b_h[g * H + i];
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
        for (int64_t i = 0; i < MOST_ROWS; ++i) ones[i] = 1;
        for (int64_t b = piece.b0; b < piece.b1; b += rows) {
            const int64_t n = piece.b1 - b < rows ? piece.b1 - b : rows;
            start_from(r, b, n);
            for (int64_t t = 0; t < T_; ++t) forward_step(r, t, b, n);
        }
    }

    void forward_step(int64_t r, int64_t t, int64_t b, int64_t n) {
        const Step<T> s = step(r, t, b, n);
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
        Cell::forward(s);
        if (reads(t)) read_out(s.h, output(p.y, r, t, b), n);
    }

    void read_out(const T *h, T *y, int64_t n) {
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

    T *da(int64_t t) const { return ring + t % (steps + 1) * Cell::BLOCKS * rows * S; }

    void backward(const Piece &piece, const Tensors &to) {
        const int64_t r = piece.r;
        const T *W_xh = of<T>(p.weights.W_xh, r), *W_hh = of<T>(p.weights.W_hh, r);
        for (int g = 0; g < Cell::GATES; ++g) {
            pack(hidden, W_hh + g * H * H, H, 1, H, H, W_h_back + g * H * S);
            if (p.dx) pack(inputs, W_xh + g * H * I, I, 1, H, I, W_x_back + g * H * inputs.columns());
        }
        if (O) pack(hidden, of<T>(p.weights.W_hy, r), H, 1, O, H, W_y_back);
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

    // dL/dh[t] but for what the cell itself carries back, into `out`
    void into_state(int64_t r, int64_t t, int64_t b, int64_t n, T *out) {
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

    void backward_step(int64_t r, int64_t t, int64_t b, int64_t n) {
        Step<T> s = step(r, t, b, n);
        s.da = da(t);
        s.dh = Cell::IN_PLACE ? s.da : dh;
        s.carry = carry;
        s.dc = dc;
        into_state(r, t, b, n, s.dh);
        Cell::backward(s);
        if (!p.dx) return;
        Segment<T> parts[Cell::GATES];
        for (int g = 0; g < Cell::GATES; ++g)
            parts[g] = {s.da + Cell::x_block(g) * rows * S, S, W_x_back + g * H * inputs.columns(), 0, H};
        multiply(inputs, parts, Cell::GATES, n, static_cast<const T *>(nullptr), 0, staged, inputs.columns());
        T *dx = row(p.dx, r, t, b, p.dx_row);
        for (int64_t i = 0; i < n; ++i) std::memcpy(dx + i * p.dx_row, staged + i * inputs.columns(), I * sizeof(T));
    }

    // Weight gradients of time steps t0 … t1-1, n rows from `first` of the block that begins at sequence b.
    void accumulate(int64_t r, int64_t t0, int64_t t1, int64_t b, int64_t first, int64_t n) {
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

    void add_rows(const T *from, int64_t n, T *to) const {
        for (int64_t k = 0; k < hidden.columns(); k += lanes<T>) {
            Vec<T> total = load(to + k);
            for (int64_t i = 0; i < n; ++i) total += load(from + i * S + k);
            store(to + k, total);
        }
    }

    void to_start(int64_t r, int64_t b, int64_t n) {
        into_state(r, -1, b, n, dh);
        if (Cell::POTENTIALS) times_slope(p.activation, rates, n * S, dh), add(dc, n * S, dh);
        const int64_t at = (r * B + b) * S;
        if (Cell::POTENTIALS) {
            std::memcpy(static_cast<T *>(p.dc_first) + at, dh, n * S * sizeof(T));
            return;
        }
        std::memcpy(static_cast<T *>(p.dh_first) + at, dh, n * S * sizeof(T));
        if (p.dc_first) std::memcpy(static_cast<T *>(p.dc_first) + at, dc, n * S * sizeof(T));
    }

    static void add(const T *from, int64_t n, T *to) {
        for (int64_t i = 0; i < n; ++i) to[i] += from[i];
    }

    void put(const Tensor &to, int64_t M, int64_t N, const T *from, int64_t m_stride, int64_t n_stride) const {
        T *out = static_cast<T *>(to.data);
        if (!out) return;
        for (int64_t m = 0; m < M; ++m)
            for (int64_t n = 0; n < N; ++n) out[m * N + n] = from[m * m_stride + n * n_stride];
    }

    static Tensor gate(const Tensor &to, int64_t offset) {
        return {to.data ? static_cast<T *>(to.data) + offset : nullptr, 0};
    }

    void write(const Tensors &to) const {
        for (int g = 0; g < Cell::GATES; ++g) {
            put(gate(to.W_hh, g * H * H), H, H, dW_h + g * H * S, S, 1);
            put(gate(to.W_xh, g * H * I), H, I, dW_x + g * I * S, 1, S);
            put(gate(to.b_x, g * H), 1, H, db + Cell::x_block(g) * S, 0, 1);
            put(gate(to.b_h, g * H), 1, H, db + Cell::h_block(g) * S, 0, 1);
        }
        put(to.W_hy, O, H, dW_y, S, 1);
        put(to.b_y, 1, O, db_y, 0, 1);
    }
};

}  // namespace VARIANT
}  // namespace unroll
