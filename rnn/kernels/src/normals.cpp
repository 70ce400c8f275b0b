// Standard normals from Philox words, and running sums: the bits are promised, whatever the processor (rnn/randomness/normals.py).
//
// Compiled once for each instruction set like variant.cpp, but without contraction to fused multiply-adds: sums,
// products, square roots and conversions that are each rounded once have one result everywhere. No library function.
// The same operations, in the same order, are in rnn/randomness/normals.py; tests compare the bits.
#include <cmath>
#include <cstring>

#include "kernel.h"

namespace unroll {
namespace VARIANT {

static constexpr int WORDS = 64;  // 64-bit words at a time; a block of Philox has four

static inline void multiply(uint64_t a, uint64_t b, uint64_t &high, uint64_t &low) {
    const auto product = static_cast<unsigned __int128>(a) * b;
    high = static_cast<uint64_t>(product >> 64);
    low = static_cast<uint64_t>(product);
}

// Philox4x64-10 (Salmon, Moraes, Dror & Shaw 2011) of the counters (first, array, 1, step), (first + 1, …), …
static void philox(const uint64_t *key, uint64_t first, uint64_t array, uint64_t step, int64_t words, uint64_t *out) {
    for (int64_t block = 0; block < (words + 3) / 4; ++block) {
        uint64_t c0 = first + block, c1 = array, c2 = 1, c3 = step, k0 = key[0], k1 = key[1];
        for (int round = 0; round < 10; ++round) {
            uint64_t high0, low0, high1, low1;
            multiply(0xD2E7470EE14C6C93u, c0, high0, low0);
            multiply(0xCA5A826395121157u, c2, high1, low1);
            c0 = high1 ^ c1 ^ k0;
            c2 = high0 ^ c3 ^ k1;
            c1 = low1;
            c3 = low0;
            k0 += 0x9E3779B97F4A7C15u;
            k1 += 0xBB67AE8584CAA73Bu;
        }
        out[4 * block] = c0;
        out[4 * block + 1] = c1;
        out[4 * block + 2] = c2;
        out[4 * block + 3] = c3;
    }
}

static inline float as_float(int32_t bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}
static inline int32_t as_bits(float value) {
    int32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

// Box & Muller: the low half of each word gives the radius, the high half the angle. Plain loops over one chunk, without
// branches, so that the compiler turns each into vector code.
static void transform(const uint64_t *word, float *out) {
    float radius[WORDS], sine[WORDS], cosine[WORDS];
    int32_t low[WORDS], high[WORDS];
    for (int i = 0; i < WORDS; ++i) {
        low[i] = static_cast<int32_t>(static_cast<uint32_t>(word[i]) >> 1);
        high[i] = static_cast<int32_t>(word[i] >> 32);
    }
    // u in (0, 1], and -2 log u by u = 2^k (1 + f), 1/√2 ≤ 1 + f < √2
    for (int i = 0; i < WORDS; ++i) {
        const float u = (static_cast<float>(low[i]) + 0.5f) * 0x1p-31f;
        const int32_t bits = as_bits(u) - 0x3F3504F3, k = bits >> 23;
        const float f = as_float((bits & 0x7FFFFF) + 0x3F3504F3) - 1.0f;
        float p = 0.20213785767555237f;
        p = p * f + -0.32445159554481506f;
        p = p * f + 0.34501659870147705f;
        p = p * f + -0.39800330996513367f;
        p = p * f + 0.4993981719017029f;
        p = p * f + -0.6667011976242065f;
        p = p * f + 1.0000072717666626f;
        p = p * f + -1.9999998807907104f;
        radius[i] = p * f + static_cast<float>(k) * -1.3862943649291992f;
    }
    for (int i = 0; i < WORDS; ++i) radius[i] = std::sqrt(radius[i]);
    // the angle is a quadrant q and x in [-π/4, π/4)
    for (int i = 0; i < WORDS; ++i) {
        const int32_t q = static_cast<int32_t>((static_cast<uint32_t>(high[i]) + 0x20000000u) >> 30);
        const int32_t rest = static_cast<int32_t>(static_cast<uint32_t>(high[i]) - (static_cast<uint32_t>(q) << 30));
        const float x = static_cast<float>(rest) * 1.4629180651604429e-09f, z = x * x;
        float s = z * -0.0001951729936990887f + 0.008332177996635437f;
        s = s * z + -0.16666655242443085f;
        s = s * z * x + x;
        float c = z * -0.0013591853203251958f + 0.041655778884887695f;
        c = c * z + -0.4999988377094269f;
        c = c * z + 1.0f;
        const int32_t swap = -(q & 1), sine_bits = as_bits(s), cosine_bits = as_bits(c);
        const int32_t first = (sine_bits & swap) | (cosine_bits & ~swap);
        const int32_t second = (cosine_bits & swap) | (sine_bits & ~swap);
        cosine[i] = as_float(first ^ ((((q + 1) >> 1) & 1) << 31));
        sine[i] = as_float(second ^ ((q >> 1) << 31));
    }
    for (int i = 0; i < WORDS; ++i) {
        out[2 * i] = radius[i] * cosine[i];
        out[2 * i + 1] = radius[i] * sine[i];
    }
}

// Draws a replica's numbers first … last-1; first is a multiple of NORMALS_CHUNK.
static void flat(const uint64_t *key, const Normals &of, int64_t first, int64_t last, float *out) {
    uint64_t words[WORDS] = {};
    // Eight numbers a block; NumPy counts before it draws, so the first block's number is 1.
    for (int64_t at = first, block = 1 + first / 8; at < last; at += 2 * WORDS, block += WORDS / 4, out += 2 * WORDS) {
        const int64_t left = last - at;
        if (left >= 2 * WORDS) {
            philox(key, block, of.array, of.step, WORDS, words);
            transform(words, out);
        } else {
            float some[2 * WORDS];
            philox(key, block, of.array, of.step, (left + 1) / 2, words);
            transform(words, some);
            std::memcpy(out, some, left * sizeof(float));
        }
    }
}

void normals(const Normals &of, int64_t r, int64_t first, int64_t last) {
    const uint64_t *key = of.keys + 2 * r;
    float *out = of.out + r * of.replica;
    if (!of.scale && of.row == of.width) return flat(key, of, first, last, out + first);
    for (int64_t at = first; at < last; at += NORMALS_CHUNK) {
        float some[NORMALS_CHUNK];
        const int64_t n = last - at < NORMALS_CHUNK ? last - at : NORMALS_CHUNK;
        flat(key, of, at, at + n, some);
        for (int64_t done = 0, row = at / of.width, column = at % of.width; done < n; ++row, column = 0) {
            const int64_t here = n - done < of.width - column ? n - done : of.width - column;
            float *to = out + row * of.row + column;
            if (of.scale)
                for (int64_t i = 0; i < here; ++i) to[i] = some[done + i] * of.scale[column + i];
            else
                std::memcpy(to, some + done, here * sizeof(float));
            done += here;
        }
    }
}

// sum[t] = x[0] + … + x[t], added in this order, of T rows of n numbers
void running_sum(const float *x, float *sum, int64_t T, int64_t n) {
    std::memcpy(sum, x, n * sizeof(float));
    for (int64_t i = n; i < T * n; ++i) sum[i] = sum[i - n] + x[i];
}

}  // namespace VARIANT
}  // namespace unroll
