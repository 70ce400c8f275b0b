// Small matrix products on memory that is already where it is needed: register tiles over packed panels.
//
//     C[m,n] = start[m,n] + Σ_s Σ_k A_s[m,k] B_s[k,n]
//
// over a few segments s (for instance the input and the state), written once. A tile is up to ROWS rows by WIDTH
// vectors of C, kept in registers over all k of all segments: with AVX-512 24 of the 32 registers accumulate. Its vectors
// V are lanes<T> numbers apart, and may be halves.
#pragma once
#include "vector.h"

namespace unroll {
namespace VARIANT {

#if VECTOR_BYTES == 64
constexpr int WIDTH = 4;
constexpr int rows_of(int width) { return width == 4 ? 6 : 8; }
#else  // 16 registers
constexpr int WIDTH = 2;
constexpr int rows_of(int width) { return width == 4 ? 3 : width == 2 ? 5 : 8; }
#endif
constexpr int ROWS = 8;
constexpr int MOST_SEGMENTS = 64;

// A[m,k] = a[m * a_row + k], or a[k * a_row + m] in the transposed product; B[k,·] = b + k * b_row + first column.
template <class T> struct Segment {
    const T *a;
    int64_t a_row;
    const T *b;
    int64_t b_row;
    int64_t K;
};

// start: nullptr means zero; with start_row = 0 every row starts from the same numbers.
template <class T> using Tile = void (*)(const Segment<T> *, int, const T *start, int64_t start_row, T *c, int64_t c_row);

template <class T, class V, int M, int N, bool TRANSPOSED>
void tile(const Segment<T> *segments, int count, const T *start, int64_t start_row, T *c, int64_t c_row) {
    constexpr int W = lanes<T>;
    V sum[M][N];
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m)
#pragma GCC unroll 8
        for (int n = 0; n < N; ++n) sum[m][n] = start ? load_as<V>(start + m * start_row + n * W) : V{};
    for (int s = 0; s < count; ++s) {
        const T *a = segments[s].a, *b = segments[s].b;
        const int64_t a_row = segments[s].a_row, b_row = segments[s].b_row, K = segments[s].K;
        for (int64_t k = 0; k < K; ++k) {
            V right[N];
#pragma GCC unroll 8
            for (int n = 0; n < N; ++n) right[n] = load_as<V>(b + n * W);
#pragma GCC unroll 8
            for (int m = 0; m < M; ++m) {
                const V left = (TRANSPOSED ? a[m] : a[m * a_row]) - V{};
#pragma GCC unroll 8
                for (int n = 0; n < N; ++n) sum[m][n] += left * right[n];
            }
            b += b_row;
            a += TRANSPOSED ? a_row : 1;
        }
    }
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m)
#pragma GCC unroll 8
        for (int n = 0; n < N; ++n) store(c + m * c_row + n * W, sum[m][n]);
}

template <class T, class V, int N, bool TRANSPOSED> Tile<T> tile_of(int64_t m) {
    constexpr int most = rows_of(N);
    static const Tile<T> tiles[ROWS] = {
        tile<T, V, 1, N, TRANSPOSED>, tile<T, V, 2, N, TRANSPOSED>, tile<T, V, 3, N, TRANSPOSED>,
        tile<T, V, 4, N, TRANSPOSED>, tile<T, V, 5, N, TRANSPOSED>, tile<T, V, most < 6 ? most : 6, N, TRANSPOSED>,
        tile<T, V, most < 7 ? most : 7, N, TRANSPOSED>, tile<T, V, most, N, TRANSPOSED>};
    return tiles[m - 1];
}

// Returns the tile for m rows of n vectors; n = 0 means half a vector.
template <class T, bool TRANSPOSED> Tile<T> tile_for(int64_t m, int n) {
    if (n == 1) return tile_of<T, Vec<T>, 1, TRANSPOSED>(m);
#if VECTOR_BYTES == 64
    if (n == 0) return tile_of<T, Half<T>, 1, TRANSPOSED>(m);
    if (n == 3) return tile_of<T, Vec<T>, 3, TRANSPOSED>(m);
    if (n == 4) return tile_of<T, Vec<T>, 4, TRANSPOSED>(m);
#endif
    return tile_of<T, Vec<T>, 2, TRANSPOSED>(m);
}

// Returns [begin, end) of part i when n things are divided into `parts` as evenly as possible.
INLINE int64_t share(int64_t n, int64_t parts, int64_t i) { return n * i / parts; }

// The columns of C are cut into panels of at most WIDTH vectors, and B is packed panel after panel, row after row.
// Columns that fill at most half of a vector are a separate panel, packed as a whole vector; the other half of C is not
// written.
template <class T> struct Panels {
    int64_t whole, count;
    bool half;
    explicit Panels(int64_t columns) : whole(up(columns, lanes<T>) / lanes<T>) {
        half = HALVES && whole * lanes<T> - columns >= lanes<T> / 2;
        whole -= half;
        count = (whole + WIDTH - 1) / WIDTH + half;
    }
    bool is_half(int64_t panel) const { return half && panel == count - 1; }
    int64_t begin(int64_t panel) const {
        return is_half(panel) ? whole * lanes<T> : share(whole, count - half, panel) * lanes<T>;
    }
    int vectors(int64_t panel) const {
        return is_half(panel) ? 1 : int(share(whole, count - half, panel + 1) - share(whole, count - half, panel));
    }
    int64_t rows(int64_t panel) const { return rows_of(vectors(panel)); }
    template <bool TRANSPOSED> Tile<T> tile(int64_t panel, int64_t m) const {
        return tile_for<T, TRANSPOSED>(m, is_half(panel) ? 0 : vectors(panel));
    }
    int64_t columns() const { return (whole + half) * lanes<T>; }
};

// B[k,n] = w[k * k_stride + n * n_stride], K × columns, zero beyond; K * panels.columns() numbers.
template <class T>
void pack(const Panels<T> &panels, const T *w, int64_t k_stride, int64_t n_stride, int64_t K, int64_t columns, T *to) {
    for (int64_t p = 0; p < panels.count; ++p) {
        const int64_t first = panels.begin(p), wide = panels.vectors(p) * lanes<T>;
        const int64_t real = columns - first < wide ? columns - first : wide;
        for (int64_t k = 0; k < K; ++k, to += wide) {
            const T *row = w + k * k_stride + first * n_stride;
            for (int64_t n = 0; n < real; ++n) to[n] = row[n * n_stride];
            for (int64_t n = real < 0 ? 0 : real; n < wide; ++n) to[n] = 0;
        }
    }
}

// The same for gates that follow one another in w, K × columns each, `gate` numbers apart. For each vector of columns,
// row k holds that vector of every gate, so that one tile has all that a unit's nonlinearities need.
template <int GATES, class T>
void pack_gates(const T *w, int64_t gate, int64_t k_stride, int64_t n_stride, int64_t K, int64_t columns, T *to) {
    for (int64_t first = 0; first < columns; first += lanes<T>)
        for (int64_t k = 0; k < K; ++k)
            for (int g = 0; g < GATES; ++g)
                for (int64_t n = first; n < first + lanes<T>; ++n)
                    *to++ = n < columns ? w[g * gate + k * k_stride + n * n_stride] : 0;
}

// C [M, panels.columns()] from packed B: segment s's B starts at segments[s].b; b_row is not read.
template <class T>
void multiply(const Panels<T> &panels, const Segment<T> *segments, int count, int64_t M, const T *start,
              int64_t start_row, T *c, int64_t c_row) {
    Segment<T> part[5];
    for (int64_t p = 0; p < panels.count; ++p) {
        const int64_t first = panels.begin(p), most = panels.rows(p), blocks = (M + most - 1) / most;
        for (int64_t i = 0; i < blocks; ++i) {
            const int64_t m = share(M, blocks, i), rows = share(M, blocks, i + 1) - m;
            for (int s = 0; s < count; ++s) {
                part[s] = segments[s];
                part[s].a += m * part[s].a_row;
                part[s].b += first * part[s].K;
                part[s].b_row = panels.vectors(p) * lanes<T>;
            }
            panels.template tile<false>(p, rows)(
                part, count, start ? start + m * start_row + first : nullptr, start_row, c + m * c_row + first, c_row);
        }
    }
}

// C [M, panels.columns()] += Σ_s A_sᵀ B_s, with A_s [K,M] and B_s [K,·] rows in memory, as for weight gradients.
template <class T>
void multiply_transposed(const Panels<T> &panels, const Segment<T> *segments, int count, int64_t M, T *c, int64_t c_row) {
    Segment<T> part[MOST_SEGMENTS];
    for (int64_t p = 0; p < panels.count; ++p) {
        const int64_t first = panels.begin(p), most = panels.rows(p), blocks = (M + most - 1) / most;
        for (int64_t i = 0; i < blocks; ++i) {
            const int64_t m = share(M, blocks, i), rows = share(M, blocks, i + 1) - m;
            for (int s = 0; s < count; ++s) {
                part[s] = segments[s];
                part[s].a += m;
                part[s].b += first;
            }
            T *out = c + m * c_row + first;
            panels.template tile<true>(p, rows)(part, count, out, c_row, out, c_row);
        }
    }
}

}  // namespace VARIANT
}  // namespace unroll
