// Runs posted sequences through a network whose weights were packed once. No trajectories are kept.
//
// A sequence's bits depend on the network, its inputs and its start alone: a row of a product is computed with the same
// operations in the same order whatever rows are beside it, and W_hh acts on every state, zeros too, so a sequence may
// be cut anywhere.
#pragma once
#include <memory>
#include <new>
#include <vector>

#include "forward.h"

namespace unroll {
namespace VARIANT {

// Memory that grows, aligned for vectors.
class Aligned {
  public:
    char *at_least(int64_t bytes) {
        if (bytes > int64_t(held_.size()) - 64) held_ = std::vector<char>(bytes + 64);
        return held_.data() + (64 - reinterpret_cast<uintptr_t>(held_.data()) % 64) % 64;
    }

  private:
    std::vector<char> held_;
};

template <class T, class Cell> class ServedStack final : public Served {
    using Layer = Sequence<T, Cell>;
    static constexpr bool HAS_C = std::is_same<Cell, LSTMCell<T>>::value, KEEPS_C = HAS_C || Cell::POTENTIALS;
    static constexpr int64_t STATES = HAS_C ? 2 : 1;

    int64_t L_, I_, H_, O_, S_;
    std::vector<Problem> problems_;
    std::vector<Layer> packed_;  // each refers to its problem
    Aligned weights_;

  public:
    explicit ServedStack(const Network &of) : L_(of.L), I_(of.I), H_(of.H), O_(of.O), S_(up(of.H, 64 / sizeof(T))) {
        problems_.resize(L_);
        packed_.reserve(L_);
        Arena arena{nullptr};
        for (int64_t l = 0; l < L_; ++l) {
            Problem &p = problems_[l];
            p.cell = of.cell;
            p.activation = of.activation;
            p.is_double = of.is_double;
            p.R = p.T = 1;
            p.B = MOST_ROWS;
            p.I = p.x_row = l ? H_ : I_;
            if (l) p.x_row = S_;
            p.H = H_;
            p.O = l == L_ - 1 ? O_ : 0;
            p.S = S_;
            p.weights = of.layers[l];
            packed_.emplace_back(p, MOST_ROWS);
            lay_out(packed_[l], arena);
        }
        arena = Arena{weights_.at_least(arena.used)};
        for (int64_t l = 0; l < L_; ++l) {
            lay_out(packed_[l], arena);
            packed_[l].pack_weights(0);
            packed_[l].load_alpha(0);
            problems_[l].weights = {};
        }
    }

    void run(const Rows &rows) const override {
        for (int64_t first = 0; first < rows.N; first += MOST_ROWS)
            run_block(rows, first, rows.N - first < MOST_ROWS ? rows.N - first : MOST_ROWS);
    }

  private:
    static void lay_out(Layer &layer, Arena &arena) {
        layer.alpha = arena.take<T>(layer.S);
        layer.weights_layout(arena);
    }

    // What one call needs beside the weights: a layer's state before and after a step.
    struct Working {
        Problem p;
        T *h[2], *c[2];
    };

    int64_t place(Arena arena, std::vector<Working> &working, int64_t n, T *&staged, T *&gates) const {
        for (Working &w : working)
            for (int64_t k = 0; k < 2; ++k) {
                w.h[k] = arena.take<T>(n * S_);
                w.c[k] = arena.take<T>(KEEPS_C ? n * S_ : 0);
            }
        staged = arena.take<T>(n * packed_.back().outputs.columns());
        gates = arena.take<T>(Cell::KEEPS_BLOCKS ? Cell::BLOCKS * n * S_ : 0);
        return arena.used;
    }

    const T *state(const void *base, const Rows &rows, int64_t l, int64_t k, int64_t row) const {
        return static_cast<const T *>(base) + ((l * STATES + k) * rows.N + row) * H_;
    }

    void run_block(const Rows &rows, int64_t first, int64_t n) const {
        static thread_local Aligned memory;
        T *staged, *gates;
        std::vector<Working> working(L_);
        const int64_t bytes = place(Arena{nullptr}, working, n, staged, gates);
        char *scratch = memory.at_least(bytes);
        std::memset(scratch, 0, bytes);
        place(Arena{scratch}, working, n, staged, gates);
        std::vector<Layer> layers;
        layers.reserve(L_);
        for (int64_t l = 0; l < L_; ++l) {
            Working &w = working[l];
            w.p = problems_[l];
            w.p.B = n;
            w.p.gates = gates;
            layers.emplace_back(w.p, n);
            Layer &layer = layers.back(), &from = const_cast<Layer &>(packed_[l]);
            layer.alpha = from.alpha;
            layer.W_x = from.W_x, layer.W_h = from.W_h, layer.bias = from.bias;
            layer.W_y = from.W_y, layer.b_y = from.b_y;
            layer.staged = staged;
            layer.starts = true;
            begin(rows, l, first, n, w);
        }
        int64_t run = n;
        for (int64_t t = 0; t < rows.T; ++t) {
            const int64_t next = t + 1 < rows.T ? left(rows.running[t + 1], first, n) : 0;
            run = left(rows.running[t], first, n);
            if (!run) break;
            const int64_t now = (t + 1) % 2, before = t % 2;
            const T *x = static_cast<const T *>(rows.x) + (t * rows.N + first) * I_;
            for (int64_t l = 0; l < L_; ++l) {
                Working &w = working[l];
                w.p.x = const_cast<T *>(x);
                w.p.h = w.h[now];
                w.p.c = KEEPS_C ? w.c[now] : nullptr;
                layers[l].h_before = w.h[before];
                layers[l].c_before = w.c[before];
                step(layers[l], run);
                x = w.h[now];
            }
            give(rows, layers.back(), x, first, t, next, run);
            if (rows.end)
                for (int64_t l = 0; l < L_; ++l) finish(rows, working[l], l, first, next, run, now);
        }
    }

    static int64_t left(int64_t running, int64_t first, int64_t n) {
        return running < first ? 0 : running - first < n ? running - first : n;
    }

    static void step(Layer &layer, int64_t n) {
        const Step<T> s = layer.step(0, 0, 0, n);
        if constexpr (Cell::INTERLEAVED) {
            layer.interleaved_gates(s, 0, 0, 0, n);
        } else {
            layer.pre_activations(s, 0, 0, 0, n);
            Cell::forward(s);
        }
    }

    void begin(const Rows &rows, int64_t l, int64_t first, int64_t n, Working &w) const {
        if (rows.start)
            for (int64_t row = 0; row < n; ++row) {
                T *h = (Cell::POTENTIALS ? w.c : w.h)[0] + row * S_;
                std::memcpy(h, state(rows.start, rows, l, 0, first + row), H_ * sizeof(T));
                if (HAS_C) std::memcpy(w.c[0] + row * S_, state(rows.start, rows, l, 1, first + row), H_ * sizeof(T));
            }
        if (Cell::POTENTIALS) activate(w.p.activation, w.c[0], n * S_, w.h[0]);
    }

    void give(const Rows &rows, Layer &last, const T *h, int64_t first, int64_t t, int64_t next, int64_t run) const {
        if (rows.y) {
            const int64_t from = rows.only_last ? next : 0;
            T *y = static_cast<T *>(rows.y) + ((rows.only_last ? 0 : t * rows.N) + first + from) * O_;
            if (from < run) last.read_out(h + from * S_, y, run - from);
        }
        if (rows.hidden)
            for (int64_t row = 0; row < run; ++row)
                std::memcpy(static_cast<T *>(rows.hidden) + (t * rows.N + first + row) * H_, h + row * S_, H_ * sizeof(T));
    }

    void finish(const Rows &rows, const Working &w, int64_t l, int64_t first, int64_t next, int64_t run, int64_t now) const {
        for (int64_t row = next; row < run; ++row) {
            const T *h = (Cell::POTENTIALS ? w.c : w.h)[now] + row * S_;
            std::memcpy(const_cast<T *>(state(rows.end, rows, l, 0, first + row)), h, H_ * sizeof(T));
            if (HAS_C)
                std::memcpy(const_cast<T *>(state(rows.end, rows, l, 1, first + row)), w.c[now] + row * S_, H_ * sizeof(T));
        }
    }
};

template <class T, class Cell> Served *serve_with(const Sequence<T, Cell> &, const Network &network) {
    try {
        return new ServedStack<T, Cell>(network);
    } catch (const std::bad_alloc &) {
        return nullptr;
    }
}

}  // namespace VARIANT
}  // namespace unroll
