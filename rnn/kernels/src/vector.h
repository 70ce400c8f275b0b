// Vectors of the instruction set that this file is compiled for, and the pointwise functions on them.
//
// GCC's and clang's vector types, so one source serves AVX-512, AVX2, SSE2 and NEON.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#elif defined(__AVX2__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif
#define INLINE inline __attribute__((always_inline))

namespace unroll {
namespace VARIANT {

typedef float Float __attribute__((vector_size(VECTOR_BYTES)));
typedef double Double __attribute__((vector_size(VECTOR_BYTES)));

template <class T> struct VectorOf;
template <> struct VectorOf<float> { typedef Float type; };
template <> struct VectorOf<double> { typedef Double type; };
template <class T> using Vec = typename VectorOf<T>::type;
template <class T> constexpr int lanes = VECTOR_BYTES / sizeof(T);

template <class T> INLINE Vec<T> load(const T *p) {
    Vec<T> v;
    std::memcpy(&v, p, sizeof v);
    return v;
}
template <class T> INLINE void store(T *p, Vec<T> v) { std::memcpy(p, &v, sizeof v); }
template <class T> INLINE Vec<T> all(T s) { return s - Vec<T>{}; }

// tanh as an odd rational function, x P(x²)/Q(x²), fitted for the least relative error on |x| ≤ 9.02, where tanh has
// rounded to 1. With float32 arithmetic the relative error stays below 4e-7. Comparisons are false for NaN, which so
// passes through: a diverged replica must be seen.
INLINE Float tanh(Float x) {
    const Float end = all(9.02f), one = all(1.0f);
    x = x > end ? end : x;
    x = x < -end ? -end : x;
    const Float u = x * x;
    Float p = u * 1.3319054304097449e-08f + 2.058346744613314e-05f;
    p = p * u + 0.0034940336855235846f;
    p = p * u + 0.1337971720651475f;
    p = p * u + 0.9999999790404684f;
    Float q = u * 7.76201189208771e-07f + 0.0003283091429511579f;
    q = q * u + 0.0258710698659057f;
    q = q * u + 0.46713032452938996f;
    q = q * u + 1.0f;
    const Float t = x * p / q;
    const Float below = t > one ? one : t;
    return below < -one ? -one : below;
}

// float64 is for holding the kernel against oracles: exact before fast.
INLINE Double tanh(Double x) {
    for (int i = 0; i < lanes<double>; ++i) x[i] = std::tanh(x[i]);
    return x;
}

// 1/(1 + exp(-x)) = 1/2 + 1/2 tanh(x/2)
template <class V> INLINE V sigmoid(V x) { return tanh(x * 0.5f) * 0.5f + 0.5f; }

template <class T> INLINE T sum(Vec<T> v) {
    T part[lanes<T>];
    std::memcpy(part, &v, sizeof v);
    for (int n = lanes<T> / 2; n > 0; n /= 2)
        for (int i = 0; i < n; ++i) part[i] += part[i + n];
    return part[0];
}

INLINE int64_t up(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

}  // namespace VARIANT
}  // namespace unroll
