// Vectors of the instruction set that this file is compiled for, and the pointwise functions on them.
//
// GCC's and clang's vector types, so one source serves AVX-512, AVX2, SSE2 and NEON.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

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

// The first N lanes of a vector. Half of an AVX-512 vector is a type of its own: a processor that runs vectors as two
// halves (Zen 4) saves one half where the last units of a layer fill no more.
template <class T, int N> struct Lanes { typedef T type __attribute__((vector_size(N * sizeof(T)))); };
constexpr bool HALVES = VECTOR_BYTES == 64;
template <class T> using Half = typename Lanes<T, lanes<T> / 2>::type;

template <class V, class T> INLINE V load_as(const T *p) {
    V v;
    std::memcpy(&v, p, sizeof v);
    return v;
}
template <class T> INLINE Vec<T> load(const T *p) { return load_as<Vec<T>>(p); }
template <class T, class V> INLINE void store(T *p, V v) { std::memcpy(p, &v, sizeof v); }
template <class T> INLINE Vec<T> all(T s) { return s - Vec<T>{}; }

// The smaller and the larger of two numbers, the second if one is NaN. It compiles to one instruction if there is one.
template <class V> INLINE V least(V a, V b) { return a < b ? a : b; }
template <class V> INLINE V most(V a, V b) { return a > b ? a : b; }
#if defined(__AVX512F__)
template <> INLINE Float least(Float a, Float b) { return _mm512_min_ps(a, b); }
template <> INLINE Float most(Float a, Float b) { return _mm512_max_ps(a, b); }
#endif
#if defined(__AVX2__)
typedef float Float256 __attribute__((vector_size(32)));
template <> INLINE Float256 least(Float256 a, Float256 b) { return _mm256_min_ps(a, b); }
template <> INLINE Float256 most(Float256 a, Float256 b) { return _mm256_max_ps(a, b); }
#endif

// tanh as an odd rational function, x P(x²)/Q(x²), fitted for the least relative error on |x| ≤ 9.02, where tanh has
// rounded to 1. With float32 arithmetic the relative error stays below 4e-7. NaN passes through: a diverged replica must
// be seen.
template <class V> INLINE V tanh_of_floats(V x) {
    const V end = 9.02f - V{}, one = 1.0f - V{};
    x = most<V>(-end, least<V>(end, x));
    const V u = x * x;
    V p = u * 1.3319054304097449e-08f + 2.058346744613314e-05f;
    p = p * u + 0.0034940336855235846f;
    p = p * u + 0.1337971720651475f;
    p = p * u + 0.9999999790404684f;
    V q = u * 7.76201189208771e-07f + 0.0003283091429511579f;
    q = q * u + 0.0258710698659057f;
    q = q * u + 0.46713032452938996f;
    q = q * u + 1.0f;
    return most<V>(-one, least<V>(one, x * p / q));
}

// float64 only serves to compare the kernel with oracles, so it is exact rather than fast.
template <class V> INLINE V tanh_of_doubles(V x) {
    for (int i = 0; i < int(sizeof x / sizeof x[0]); ++i) x[i] = std::tanh(x[i]);
    return x;
}

template <class V> INLINE V tanh(V x) {
    if constexpr (sizeof x[0] == sizeof(float))
        return tanh_of_floats(x);
    else
        return tanh_of_doubles(x);
}

// 1/(1 + exp(-x)) = 1/2 + 1/2 tanh(x/2)
template <class V> INLINE V sigmoid(V x) { return tanh(x * 0.5f) * 0.5f + 0.5f; }

// log(1 + exp a) = max(a, 0) + log(1 + z), z = exp(-|a|) in (0, 1]: the exponential of f + k log 2, |f| ≤ log(2)/2, by a
// polynomial and the exponent's bits; log(1 + z) = 2 artanh s, s = z/(2 + z). Both polynomials are fitted for the least
// relative error, below 4e-9. NaN passes through.
template <class V> INLINE V softplus_of_floats(V a) {
    typedef uint32_t Bits __attribute__((vector_size(sizeof(V))));
    const V zero{}, magic = 12582912.0f - zero;  // adding a number rounds that to an integer, in the last bits
    const V x = most<V>(-87.0f - zero, least<V>(a, -a)), shifted = x * 1.44269504f + magic, k = shifted - magic;
    const V f = x - k * 0.693359375f - k * -2.12194440e-4f;
    V e = f * 0.0013836845568244351f + 0.008374815801903687f;
    e = e * f + 0.041668225577057814f;
    e = e * f + 0.16666420169885646f;
    e = e * f + 0.499999920797832f;
    e = e * f + 1.0000000363231867f;
    e = e * f + 1.000000000554167f;
    Bits bits;
    std::memcpy(&bits, &shifted, sizeof bits);
    bits = (bits - 0x4B400000u + 127u) << 23;
    V power;
    std::memcpy(&power, &bits, sizeof power);
    const V z = e * power, s = z / (z + 2.0f), u = s * s;
    V q = u * 0.2817833433523066f + 0.27960602881605506f;
    q = q * u + 0.4002491027325417f;
    q = q * u + 0.6666631468217898f;
    q = q * u + 2.0000000079210363f;
    return most<V>(zero, a) + q * s;
}

template <class V> INLINE V softplus(V a) {
    if constexpr (sizeof a[0] == sizeof(float)) {
        return softplus_of_floats(a);
    } else {
        for (int i = 0; i < int(sizeof a / sizeof a[0]); ++i)
            a[i] = (a[i] < 0 ? 0 : a[i]) + std::log1p(std::exp(-std::abs(a[i])));
        return a;
    }
}

// 1 - exp(-h) = 2 t/(1 + t), t = tanh(h/2), which loses no digits where h is small
template <class V> INLINE V softplus_slope(V h) {
    const V t = tanh(h * 0.5f);
    return (t + t) / (t + 1.0f);
}

// Returns the sum of all lanes: halves are added until one number is left.
template <class T, int N> INLINE T sum_of(typename Lanes<T, N>::type v) {
    if constexpr (N == 2) {
        return v[0] + v[1];
    } else {
        typename Lanes<T, N / 2>::type half[2];
        std::memcpy(half, &v, sizeof v);
        return sum_of<T, N / 2>(half[0] + half[1]);
    }
}
template <class T> INLINE T sum(Vec<T> v) { return sum_of<T, lanes<T>>(v); }

INLINE int64_t up(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

}  // namespace VARIANT
}  // namespace unroll
