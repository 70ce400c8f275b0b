// Reads the body of a plain prediction request: {"inputs": [[[number, …], …], …], "replica": …, "return": ["outputs"]}.
//
// Plain means: these fields only, each at most once, `inputs` among them; every sequence has at least one step, every
// step I numbers, and every number is finite in the network's type. Any other body is not refused here but left to the
// validation that can say what is wrong with it. Numbers are rounded as Python rounds them: to the nearest double, then
// to the nearest float.
#include <cfloat>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "kernel.h"

using namespace unroll;

namespace {

constexpr double TENS[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                           1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

#if LDBL_MANT_DIG == 64
struct LongTens {
    long double of[28];
    constexpr LongTens() : of{1} {
        for (int k = 1; k < 28; ++k) of[k] = of[k - 1] * 10;
    }
};
constexpr LongTens LONG_TENS;  // exact: 5^27 < 2^64
#endif

struct Reader {
    const char *at, *end;

    void space() {
        while (at < end && (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t')) ++at;
    }
    bool take(char wanted) {
        space();
        return at < end && *at == wanted ? ++at, true : false;
    }
    bool text(const char *wanted) {
        space();
        const int64_t n = std::strlen(wanted);
        if (end - at < n || std::memcmp(at, wanted, n)) return false;
        at += n;
        return true;
    }
    static bool digit(char c) { return c >= '0' && c <= '9'; }

    // One number of JSON. Up to 15 digits and 22 decimal places are exact in doubles, so one rounding is left.
    bool number(double &to) {
        space();
        const char *first = at;
        const bool negative = at < end && *at == '-';
        at += negative;
        if (at >= end || !digit(*at)) return false;
        uint64_t mantissa = 0;
        int64_t digits = 0, exponent = 0;
        const auto more = [&](int64_t place) {
            for (; at < end && digit(*at); ++at, exponent += place)
                if (digits || *at != '0') {
                    if (++digits <= 19) mantissa = mantissa * 10 + (*at - '0');
                }
        };
        const bool zero = *at == '0';
        more(0);
        if (zero && at - first - negative > 1) return false;  // 01
        bool whole = true;
        if (at < end && *at == '.') {
            ++at;
            if (at >= end || !digit(*at)) return false;
            more(-1);
            whole = false;
        }
        if (at < end && (*at == 'e' || *at == 'E')) {
            ++at;
            const bool down = at < end && *at == '-';
            if (at < end && (*at == '-' || *at == '+')) ++at;
            if (at >= end || !digit(*at)) return false;
            int64_t e = 0;
            for (; at < end && digit(*at); ++at)
                if (e < 10000) e = e * 10 + (*at - '0');
            exponent += down ? -e : e;
            whole = false;
        }
        if (digits <= 15 && exponent >= -22 && exponent <= 22) {
            const double m = double(mantissa);
            to = exponent < 0 ? m / TENS[-exponent] : m * TENS[exponent];
            if (negative) to = -to;
            return true;
        }
        if (whole) return false;  // Python reads it as a long integer first
#if LDBL_MANT_DIG == 64
        // The quotient has 64 bits. Rounding it again to a double's 53 is right unless it lies halfway between two.
        if (digits <= 19 && exponent >= -27 && exponent <= 0) {
            const long double quotient = static_cast<long double>(mantissa) / LONG_TENS.of[-exponent];
            uint64_t bits;
            std::memcpy(&bits, &quotient, sizeof bits);
            if ((bits & 0x7ff) != 0x400) {
                to = double(negative ? -quotient : quotient);
                return true;
            }
        }
#endif
#if defined(__cpp_lib_to_chars)
        const auto [stopped, error] = std::from_chars(first, at, to);
        return error == std::errc() && stopped == at;
#else
        return false;
#endif
    }
};

template <class T> bool read_inputs(Reader &in, Posted &posted) {
    T *x = static_cast<T *>(posted.x);
    posted.N = 0;
    if (!in.take('[')) return false;
    do {
        if (posted.N == posted.most || !in.take('[')) return false;
        int64_t steps = 0;
        do {
            if (!in.take('[')) return false;
            for (int64_t i = 0; i < posted.I; ++i) {
                double value;
                if ((i && !in.take(',')) || !in.number(value)) return false;
                *x = T(value);
                if (!std::isfinite(*x++)) return false;
            }
            if (!in.take(']')) return false;
            ++steps;
        } while (in.take(','));
        if (!in.take(']')) return false;
        posted.lengths[posted.N++] = steps;
    } while (in.take(','));
    return in.take(']');
}

bool read_replica(Reader &in, Posted &posted) {
    if (in.text("\"best\"")) return true;
    double value;
    in.space();
    const char *first = in.at;
    if (!in.number(value)) return false;
    for (const char *c = first; c < in.at; ++c)
        if (!Reader::digit(*c)) return false;  // a whole number, written as one, and not -0
    posted.replica = int64_t(value);
    return value < 1e9;
}

}  // namespace

extern "C" {

__attribute__((visibility("default"))) int64_t unroll_posted_bytes() { return sizeof(Posted); }

// Returns whether the body is plain. x must have room for as many numbers as the body has bytes, halved and rounded up.
__attribute__((visibility("default"))) bool unroll_posted(Posted *posted) {
    Reader in{posted->body, posted->body + posted->bytes};
    posted->replica = -1;
    bool inputs = false, replica = false, returns = false;
    if (!in.take('{')) return false;
    do {
        if (in.text("\"inputs\"")) {
            if (inputs || !in.take(':')) return false;
            inputs = true;
            if (!(posted->is_double ? read_inputs<double>(in, *posted) : read_inputs<float>(in, *posted))) return false;
        } else if (in.text("\"replica\"")) {
            if (replica || !in.take(':') || !read_replica(in, *posted)) return false;
            replica = true;
        } else if (in.text("\"return\"")) {
            if (returns || !in.take(':') || !in.take('[') || !in.text("\"outputs\"") || !in.take(']')) return false;
            returns = true;
        } else {
            return false;
        }
    } while (in.take(','));
    if (!in.take('}') || !inputs) return false;
    posted->inputs_alone = !replica && !returns;
    in.space();
    return in.at == in.end;
}
}
