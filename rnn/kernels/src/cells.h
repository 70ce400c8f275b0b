// The pointwise part of each cell's time step; matrix products are in gemm.h. Equations and sources: rnn/cells/.
//
// A cell's pre-activations are BLOCKS blocks of [rows,S]; gate g's weights act on x in block x_block(g) and on h[t-1] in
// block h_block(g). `forward` finds pre-activations in `a` and leaves there what `backward` needs; `backward` turns
// dL/dh[t] into dL/da[t]. `carry` is the part of dL/dh[t-1] that does not pass through W_hh. n counts numbers, all
// memory is contiguous and a multiple of a vector long.
//
// An INTERLEAVED cell keeps its gates as [vectors of units, sequences, BLOCKS, a vector] instead, and its `forward`
// follows each tile of the product, whose results are then still in the nearest cache.
#pragma once
#include "kernel.h"
#include "vector.h"

namespace unroll {
namespace VARIANT {

// One time step of one piece. Pointers to blocks are `block` numbers apart in forward, da's `da_block` in backward.
template <class T> struct Step {
    int64_t n, width, columns;        // numbers in total, in a row, and in those vectors of a row that hold units
    int64_t block, da_block;          // in an INTERLEAVED cell a unit's vector begins at `block` times its index
    int64_t activation;
    const T *alpha;                   // leaky: [width]
    T *dalpha;                        // its gradient, which is added to; nullptr: not needed
    T *a, *h, *c;                     // blocks, h[t], c[t]
    const T *h_before, *c_before;     // h[t-1], c[t-1]
    T *dh, *da, *carry, *dc;          // dL/dh[t], dL/da[t], carry, dL/dc
};

// The nonlinearities of rate cells, in place where to == a, and their slopes in h = f(a); see rnn/cells/activations.py.
template <class T> void activate(int64_t f, const T *a, int64_t n, T *to) {
    constexpr int W = lanes<T>;
    const Vec<T> zero{}, one = all<T>(1);
    switch (f) {
        case TANH:
            for (int64_t i = 0; i < n; i += W) store(to + i, tanh(load(a + i)));
            return;
        case SIGMOID:
            for (int64_t i = 0; i < n; i += W) store(to + i, sigmoid(load(a + i)));
            return;
        case SOFTPLUS:
            for (int64_t i = 0; i < n; i += W) store(to + i, softplus(load(a + i)));
            return;
        case RELU:
            for (int64_t i = 0; i < n; i += W) store(to + i, load(a + i) < zero ? zero : load(a + i));
            return;
        case LEAKY_RELU:
            for (int64_t i = 0; i < n; i += W) store(to + i, load(a + i) < zero ? load(a + i) * T(0.01) : load(a + i));
            return;
        case SATURATED_RELU:
            for (int64_t i = 0; i < n; i += W) {
                const Vec<T> low = load(a + i) < zero ? zero : load(a + i);
                store(to + i, low > one ? one : low);
            }
            return;
        default:
            if (to != a) std::memcpy(to, a, n * sizeof(T));
    }
}

// d *= f'
template <class T> void times_slope(int64_t f, const T *h, int64_t n, T *d) {
    constexpr int W = lanes<T>;
    const Vec<T> zero{}, one = all<T>(1);
    switch (f) {
        case TANH:
            for (int64_t i = 0; i < n; i += W) store(d + i, load(d + i) - load(d + i) * load(h + i) * load(h + i));
            return;
        case SIGMOID:
            for (int64_t i = 0; i < n; i += W) store(d + i, load(d + i) * load(h + i) * (one - load(h + i)));
            return;
        case SOFTPLUS:
            for (int64_t i = 0; i < n; i += W) store(d + i, load(d + i) * softplus_slope(load(h + i)));
            return;
        case RELU:
            for (int64_t i = 0; i < n; i += W) store(d + i, load(h + i) == zero ? zero : load(d + i));
            return;
        case LEAKY_RELU:
            for (int64_t i = 0; i < n; i += W) store(d + i, load(h + i) <= zero ? load(d + i) * T(0.01) : load(d + i));
            return;
        case SATURATED_RELU:
            for (int64_t i = 0; i < n; i += W) {
                const Vec<T> y = load(h + i), low = y == zero ? zero : load(d + i);
                store(d + i, y == one ? zero : low);
            }
            return;
        default:
            return;
    }
}

template <class T> struct VanillaCell {
    static constexpr int GATES = 1, BLOCKS = 1;
    static constexpr bool CARRIES = false, KEEPS_BLOCKS = false, IN_PLACE = true, POTENTIALS = false, INTERLEAVED = false;
    static int x_block(int g) { return g; }
    static int h_block(int g) { return g; }

    // h = f(a), where a is in h's memory;  da = f'(a) ∘ dh, where dh is in da's memory
    static void forward(const Step<T> &s) { activate(s.activation, s.h, s.n, s.h); }
    static void backward(const Step<T> &s) { times_slope(s.activation, s.h, s.n, s.da); }
};

template <class T> struct LeakyRatesCell {
    static constexpr int GATES = 1, BLOCKS = 1;
    static constexpr bool CARRIES = true, KEEPS_BLOCKS = true, IN_PLACE = false, POTENTIALS = false, INTERLEAVED = false;
    static int x_block(int g) { return g; }
    static int h_block(int g) { return g; }

    // s = f(a) in a's memory;  h = h[t-1] + α (s - h[t-1])
    static void forward(const Step<T> &s) {
        activate(s.activation, s.a, s.n, s.a);
        for (int64_t i = 0; i < s.n; i += s.width)
            for (int64_t k = 0; k < s.width; k += lanes<T>) {
                const Vec<T> before = load(s.h_before + i + k);
                store(s.h + i + k, before + load(s.alpha + k) * (load(s.a + i + k) - before));
            }
    }

    // da = α f'(a) ∘ dh;  (1 - α) dh is carried to t-1
    static void backward(const Step<T> &s) {
        for (int64_t i = 0; i < s.n; i += s.width)
            for (int64_t k = 0; k < s.width; k += lanes<T>) {
                const Vec<T> dh = load(s.dh + i + k), part = load(s.alpha + k) * dh;
                store(s.da + i + k, part);
                store(s.carry + i + k, dh - part);
            }
        times_slope(s.activation, s.a, s.n, s.da);
        if (!s.dalpha) return;
        // ∂h/∂α = s - h[t-1]
        for (int64_t k = 0; k < s.width; k += lanes<T>) {
            Vec<T> total = load(s.dalpha + k);
            for (int64_t i = k; i < s.n; i += s.width) total += load(s.dh + i) * (load(s.a + i) - load(s.h_before + i));
            store(s.dalpha + k, total);
        }
    }
};

template <class T> struct LeakyPotentialsCell {
    static constexpr int GATES = 1, BLOCKS = 1;
    static constexpr bool CARRIES = false, KEEPS_BLOCKS = false, IN_PLACE = true, POTENTIALS = true, INTERLEAVED = false;
    static int x_block(int g) { return g; }
    static int h_block(int g) { return g; }

    // v = v[t-1] + α (a - v[t-1]), h = f(v); a is in h's memory, v is c
    static void forward(const Step<T> &s) {
        for (int64_t i = 0; i < s.n; i += s.width)
            for (int64_t k = 0; k < s.width; k += lanes<T>) {
                const Vec<T> before = load(s.c_before + i + k);
                store(s.c + i + k, before + load(s.alpha + k) * (load(s.h + i + k) - before));
            }
        activate(s.activation, s.c, s.n, s.h);
    }

    // dv = f'(v) ∘ dh + what t+1 carried back;  da = α dv;  (1 - α) dv is carried to t-1
    static void backward(const Step<T> &s) {
        times_slope(s.activation, s.h, s.n, s.da);
        for (int64_t i = 0; i < s.n; i += s.width)
            for (int64_t k = 0; k < s.width; k += lanes<T>) {
                const Vec<T> dv = load(s.da + i + k) + load(s.dc + i + k), part = load(s.alpha + k) * dv;
                store(s.da + i + k, part);
                store(s.dc + i + k, dv - part);
            }
        if (!s.dalpha) return;
        // α ∂v/∂α = v - v[t-1], and dv is the sum of da and what is carried
        for (int64_t k = 0; k < s.width; k += lanes<T>) {
            Vec<T> total = load(s.dalpha + k);
            for (int64_t i = k; i < s.n; i += s.width)
                total += (load(s.da + i) + load(s.dc + i)) * (load(s.c + i) - load(s.c_before + i));
            store(s.dalpha + k, total);
        }
    }
};

template <class T> struct LSTMCell {
    static constexpr int GATES = 4, BLOCKS = 4;
    static constexpr bool CARRIES = false, KEEPS_BLOCKS = true, IN_PLACE = false, POTENTIALS = false, INTERLEAVED = true;
    static int x_block(int g) { return g; }
    static int h_block(int g) { return g; }

    // i, f, o = σ(a), g = tanh(a), in this order i f g o;  c = f c[t-1] + i g;  h = o tanh(c)
    //
    // Computes one vector V of units for `rows` sequences. Gates are adjacent in `a`; other values are `width` apart.
    template <class V> static void forward(int64_t rows, int64_t width, T *a, const T *c_before, T *c, T *h) {
        constexpr int W = lanes<T>;
        for (int64_t row = 0; row < rows; ++row, a += BLOCKS * W, c_before += width, c += width, h += width) {
            const V in = sigmoid(load_as<V>(a)), forget = sigmoid(load_as<V>(a + W));
            const V gate = tanh(load_as<V>(a + 2 * W)), out = sigmoid(load_as<V>(a + 3 * W));
            const V cell = forget * load_as<V>(c_before) + in * gate;
            store(a, in);
            store(a + W, forget);
            store(a + 2 * W, gate);
            store(a + 3 * W, out);
            store(c, cell);
            store(h, out * tanh(cell));
        }
    }

    // dc += dh o (1 - tanh²c);  then each gate's own slope, and dc f is carried to t-1
    static void backward(const Step<T> &s) {
        constexpr int W = lanes<T>;
        for (int64_t unit = 0; unit < s.columns; unit += W) {
            const T *a = s.a + unit * s.block;
            for (int64_t k = unit; k < s.n; k += s.width, a += BLOCKS * W) {
                const Vec<T> in = load(a), forget = load(a + W), gate = load(a + 2 * W), out = load(a + 3 * W);
                const Vec<T> dh = load(s.dh + k), t = tanh(load(s.c + k));
                const Vec<T> dc = load(s.dc + k) + dh * out * (1 - t * t);
                store(s.da + k, dc * gate * in * (1 - in));
                store(s.da + s.da_block + k, dc * load(s.c_before + k) * forget * (1 - forget));
                store(s.da + 2 * s.da_block + k, dc * in * (1 - gate * gate));
                store(s.da + 3 * s.da_block + k, dh * t * out * (1 - out));
                store(s.dc + k, dc * forget);
            }
        }
    }
};

template <class T> struct GRUCell {
    // Gates r z n. The parts of n from x and from h are separate blocks, because r scales only the second.
    static constexpr int GATES = 3, BLOCKS = 4;
    static constexpr bool CARRIES = true, KEEPS_BLOCKS = true, IN_PLACE = false, POTENTIALS = false, INTERLEAVED = false;
    static int x_block(int g) { return g; }
    static int h_block(int g) { return g == 2 ? 3 : g; }

    // r, z = σ(a);  n = tanh(a_x + r a_h);  h = n + z (h[t-1] - n)
    static void forward(const Step<T> &s) {
        T *r = s.a, *z = s.a + s.block, *n = s.a + 2 * s.block;
        const T *a_h = s.a + 3 * s.block;
        for (int64_t k = 0; k < s.n; k += lanes<T>) {
            const Vec<T> reset = sigmoid(load(r + k)), update = sigmoid(load(z + k));
            const Vec<T> fresh = tanh(load(n + k) + reset * load(a_h + k));
            store(r + k, reset);
            store(z + k, update);
            store(n + k, fresh);
            store(s.h + k, fresh + update * (load(s.h_before + k) - fresh));
        }
    }

    static void backward(const Step<T> &s) {
        const T *r = s.a, *z = s.a + s.block, *n = s.a + 2 * s.block, *a_h = s.a + 3 * s.block;
        for (int64_t k = 0; k < s.n; k += lanes<T>) {
            const Vec<T> reset = load(r + k), update = load(z + k), fresh = load(n + k), dh = load(s.dh + k);
            const Vec<T> da_x = dh * (1 - update) * (1 - fresh * fresh);
            store(s.da + k, da_x * load(a_h + k) * reset * (1 - reset));
            store(s.da + s.da_block + k, dh * (load(s.h_before + k) - fresh) * update * (1 - update));
            store(s.da + 2 * s.da_block + k, da_x);
            store(s.da + 3 * s.da_block + k, da_x * reset);
            store(s.carry + k, dh * update);
        }
    }
};

}  // namespace VARIANT
}  // namespace unroll
