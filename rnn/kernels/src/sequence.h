// A recurrent layer with its readout over whole sequences, for the sequences of one thread.
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

constexpr int64_t MOST_ROWS = 128;  // sequences computed together, so that their h[t], h[t-1] and dL/da stay in the cache
constexpr int64_t CHUNK_ROWS = 96;  // rows of dL/da and h that one update of the weight gradients uses
constexpr int64_t FEW_OUTPUTS = 4;  // up to this number of outputs the readout is a dot product along h

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
    int64_t rows;   // the largest number of rows in one block
    int64_t steps;  // time steps in a chunk of the backward pass

    // scratch, shared by both passes
    T *zeros, *staged, *ones, *rates, *alpha;
    // forward
    T *W_x, *W_h, *bias, *W_y, *b_y;
    // backward
    T *W_h_back, *W_y_back, *W_x_back, *ring, *dh, *carry, *dc, *dW_h, *dW_x, *db, *dW_y, *db_y, *dalpha;

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
        alpha = arena.take<T>(S);
    }
    int64_t forward_layout(Arena arena) {
        common(arena);
        weights_layout(arena);
        return arena.used;
    }
    void weights_layout(Arena &arena) {
        W_x = arena.take<T>(Cell::GATES * I * S);
        W_h = arena.take<T>(Cell::GATES * H * S);
        bias = arena.take<T>(Cell::BLOCKS * S);
        W_y = arena.take<T>(O <= FEW_OUTPUTS ? O * S : H * outputs.columns());
        b_y = arena.take<T>(outputs.columns());
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
        dalpha = arena.take<T>(S);
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
        if (!Cell::KEEPS_BLOCKS) return h(r, t, b);
        T *step = static_cast<T *>(p.gates) + (r * T_ + t) * Cell::BLOCKS * B * S;
        return step + b * (Cell::INTERLEAVED ? Cell::BLOCKS * lanes<T> : S);
    }

    // alpha padded to whole vectors; the units beyond H do not change.
    void load_alpha(int64_t r) {
        clear(alpha, S);
        if (const T *own = of<T>(p.weights.alpha, r)) std::memcpy(alpha, own, H * sizeof(T));
    }

    // `start_from` finds the state before the first step, for n sequences from b. `starts` says whether W_hh acts on it,
    // since zeros are skipped.
    bool starts;
    const T *h_before, *c_before;
    void start_from(int64_t r, int64_t b, int64_t n) {
        clear(zeros, rows * S);
        h_before = p.h_first ? static_cast<T *>(p.h_first) + (r * B + b) * S : zeros;
        c_before = p.c_first ? static_cast<T *>(p.c_first) + (r * B + b) * S : zeros;
        starts = p.h_first || (Cell::POTENTIALS && (p.c_first || p.activation == SIGMOID || p.activation == SOFTPLUS));
        if (Cell::POTENTIALS) {
            activate(p.activation, c_before, n * S, rates);
            h_before = rates;
        }
    }

    Step<T> step(int64_t r, int64_t t, int64_t b, int64_t n) const {
        Step<T> s{};
        s.n = n * S;
        s.columns = hidden.columns();
        s.block = Cell::INTERLEAVED ? B * Cell::BLOCKS : B * S;
        s.da_block = rows * S;
        s.activation = p.activation;
        s.alpha = alpha;
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

    // forward.h
    int64_t bias_at(int64_t block, int64_t i) const {
        return Cell::INTERLEAVED ? (i / lanes<T> * Cell::BLOCKS + block) * lanes<T> + i % lanes<T> : block * S + i;
    }
    void forward(const Piece &piece);
    void pack_weights(int64_t r);
    void forward_step(int64_t r, int64_t t, int64_t b, int64_t n);
    void pre_activations(const Step<T> &s, int64_t r, int64_t t, int64_t b, int64_t n);
    void interleaved_gates(const Step<T> &s, int64_t r, int64_t t, int64_t b, int64_t n);
    template <class V> void units(const Step<T> &s, int64_t r, int64_t t, int64_t b, int64_t n, int64_t unit);
    void read_out(const T *h, T *y, int64_t n);

    // backward.h; da is the ring's memory for dL/da[t]
    T *da(int64_t t) const { return ring + t % (steps + 1) * Cell::BLOCKS * rows * S; }
    void backward(const Piece &piece, const Tensors &to);
    void into_state(int64_t r, int64_t t, int64_t b, int64_t n, T *out);
    void backward_step(int64_t r, int64_t t, int64_t b, int64_t n);
    void to_start(int64_t r, int64_t b, int64_t n);

    // gradients.h
    void accumulate(int64_t r, int64_t t0, int64_t t1, int64_t b, int64_t first, int64_t n);
    void add_rows(const T *from, int64_t n, T *to) const;
    void put(const Tensor &to, int64_t M, int64_t N, const T *from, int64_t m_stride, int64_t n_stride) const;
    static Tensor gate(const Tensor &to, int64_t offset) {
        return {to.data ? static_cast<T *>(to.data) + offset : nullptr, 0};
    }
    void write(const Tensors &to) const;
};

}  // namespace VARIANT
}  // namespace unroll
