// The rest of a training step, each part in one sweep over memory: the squared error and its derivative, gradient
// norms, and the optimisers' updates. One thread runs them: they are short, and the order of sums is always the same.
//
// Compiled once for each instruction set, like normals.cpp without contraction to fused multiply-adds: two sweeps over the
// same numbers then round alike, and an update has the same bits on every processor.
#include "kernel.h"
#include "vector.h"

namespace unroll {
namespace VARIANT {

static constexpr int64_t SUM_BLOCK = 1024;  // so many squares are summed in T before the sum continues in float64

// Returns Σ w d², d = y - target, over n rows of O outputs, and overwrites y with 2 w d. A row with weight zero gives
// zeros, whatever y is.
template <class T> static double squared_error_of(T *y, const T *target, const T *weight, int64_t n, int64_t O) {
    double total = 0;
    const int64_t rows = O < SUM_BLOCK ? SUM_BLOCK / O : 1;
    for (int64_t begin = 0; begin < n; begin += rows) {
        const int64_t end = begin + rows < n ? begin + rows : n;
        int64_t i = begin * O;
        if (weight) {
            for (int64_t row = begin; row < end; ++row)
                for (; i < (row + 1) * O; ++i) {
                    const T w = weight[row], d = w == 0 ? 0 : y[i] - target[i];
                    total += double(w) * (double(d) * double(d));
                    y[i] = w * (d + d);
                }
            continue;
        }
        T rest = 0;
        Vec<T> part{};
        for (; i + lanes<T> <= end * O; i += lanes<T>) {
            const Vec<T> d = load(y + i) - load(target + i);
            part += d * d;
            store(y + i, d + d);
        }
        for (; i < end * O; ++i) {
            const T d = y[i] - target[i];
            rest += d * d;
            y[i] = d + d;
        }
        total += double(sum<T>(part)) + double(rest);
    }
    return total;
}

// Σ x²
template <class T> static double squares_of(const T *x, int64_t n) {
    double total = 0;
    for (int64_t begin = 0; begin < n; begin += SUM_BLOCK) {
        const int64_t end = begin + SUM_BLOCK < n ? begin + SUM_BLOCK : n;
        int64_t i = begin;
        Vec<T> part[2] = {};
        for (; i + 2 * lanes<T> <= end; i += 2 * lanes<T>)
            for (int k = 0; k < 2; ++k) part[k] += load(x + i + k * lanes<T>) * load(x + i + k * lanes<T>);
        T rest = 0;
        for (; i < end; ++i) rest += x[i] * x[i];
        total += double(sum<T>(part[0] + part[1])) + double(rest);
    }
    return total;
}

// The rules of torch.optim. `next` computes one parameter p and its two moments after the update from their values
// before it and the gradient g. A moment that a rule lacks is 0 before and not kept.
struct AdamRule {  // AdamW if `keep` is not 1
    float keep, to_first, beta2, to_second, size, root, eps;
    explicit AdamRule(const Update &u)
        : keep(float(1 - u.lr * u.weight_decay)), to_first(float(1 - u.beta1)), beta2(float(u.beta2)),
          to_second(float(1 - u.beta2)), size(float(u.lr / (1 - std::pow(u.beta1, double(u.step))))),
          root(float(std::sqrt(1 - std::pow(u.beta2, double(u.step))))), eps(float(u.eps)) {}
    INLINE void next(float &p, float &m, float &v, float g) const {
        m += (g - m) * to_first;
        v = v * beta2 + to_second * g * g;
        p = p * keep - size * m / (std::sqrt(v) / root + eps);
    }
};
struct RMSpropRule {
    float momentum, alpha, to_square, lr, eps;
    explicit RMSpropRule(const Update &u)
        : momentum(float(u.beta1)), alpha(float(u.beta2)), to_square(float(1 - u.beta2)), lr(float(u.lr)), eps(float(u.eps)) {}
    INLINE void next(float &p, float &v, float &b, float g) const {
        v = v * alpha + to_square * g * g;
        b = momentum * b + g / (std::sqrt(v) + eps);
        p -= lr * b;
    }
};
struct SGDRule {
    float momentum, lr;
    explicit SGDRule(const Update &u) : momentum(float(u.beta1)), lr(float(u.lr)) {}
    INLINE void next(float &p, float &b, float &, float g) const {
        b = momentum * b + g;
        p -= lr * b;
    }
};

INLINE int32_t not_finite(float x) {
    int32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    return (bits & 0x7F800000) == 0x7F800000;
}

// Updates a row of P parameters in one sweep; without WRITES it only tests whether all numbers would be finite.
template <bool WRITES, int MOMENTS, class Rule>
static bool sweep(const Rule &rule, int64_t P, float *__restrict p, float *__restrict first, float *__restrict second,
           const float *__restrict gradient) {
    int32_t broken = 0;
    for (int64_t i = 0; i < P; ++i) {
        float x = p[i], a = MOMENTS > 0 ? first[i] : 0, b = MOMENTS > 1 ? second[i] : 0;
        rule.next(x, a, b, gradient[i]);
        broken |= not_finite(x) | (MOMENTS > 0 ? not_finite(a) : 0) | (MOMENTS > 1 ? not_finite(b) : 0);
        if (!WRITES) continue;
        p[i] = x;
        if (MOMENTS > 0) first[i] = a;
        if (MOMENTS > 1) second[i] = b;
    }
    return !broken;
}

// Replica r is updated if every number is finite afterwards; otherwise it does not change. The first sweep only tests,
// because a second sweep costs less than a copy to restore.
template <int MOMENTS, class Rule> static bool update_row(const Rule &rule, const Update &u, int64_t r) {
    const int64_t all = u.R * u.P;
    float *p = u.memory + r * u.P, *first = MOMENTS > 0 ? p + all : nullptr, *second = MOMENTS > 1 ? first + all : nullptr;
    const float *g = u.gradients + r * u.P;
    return sweep<false, MOMENTS>(rule, u.P, p, first, second, g) && sweep<true, MOMENTS>(rule, u.P, p, first, second, g);
}

template <class Rule> static void update_with(const Update &u) {
    const Rule rule(u);
    for (int64_t r = 0; r < u.R; ++r) {
        if (u.skipped[r]) continue;
        const bool done = u.moments == 2   ? update_row<2>(rule, u, r)
                          : u.moments == 1 ? update_row<1>(rule, u, r)
                                           : update_row<0>(rule, u, r);
        u.broken[r] = !done;
    }
}

double squared_error(bool is_double, void *y, const void *target, const void *weight, int64_t n, int64_t O) {
    const auto run = [&](auto zero) {
        using T = decltype(zero);
        return squared_error_of(static_cast<T *>(y), static_cast<const T *>(target), static_cast<const T *>(weight), n, O);
    };
    return is_double ? run(0.0) : run(0.0f);
}

double squares(bool is_double, const void *x, int64_t n) {
    return is_double ? squares_of(static_cast<const double *>(x), n) : squares_of(static_cast<const float *>(x), n);
}

void update(const Update &u) {
    if (u.rule == RMSPROP) return update_with<RMSpropRule>(u);
    if (u.rule == SGD) return update_with<SGDRule>(u);
    update_with<AdamRule>(u);
}

}  // namespace VARIANT
}  // namespace unroll
