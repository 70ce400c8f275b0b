// Compiled once for each instruction set, with -DVARIANT=portable, avx2 or avx512.
#include "backward.h"
#include "forward.h"
#include "serve.h"

namespace unroll {
namespace VARIANT {

template <class Run> auto with_cell(const Problem &p, int64_t rows, Run run) {
    if (p.is_double) switch (p.cell) {
            case LEAKY_RATES: return run(Sequence<double, LeakyRatesCell<double>>(p, rows));
            case LEAKY_POTENTIALS: return run(Sequence<double, LeakyPotentialsCell<double>>(p, rows));
            case LSTM: return run(Sequence<double, LSTMCell<double>>(p, rows));
            case GRU: return run(Sequence<double, GRUCell<double>>(p, rows));
            default: return run(Sequence<double, VanillaCell<double>>(p, rows));
        }
    switch (p.cell) {
        case LEAKY_RATES: return run(Sequence<float, LeakyRatesCell<float>>(p, rows));
        case LEAKY_POTENTIALS: return run(Sequence<float, LeakyPotentialsCell<float>>(p, rows));
        case LSTM: return run(Sequence<float, LSTMCell<float>>(p, rows));
        case GRU: return run(Sequence<float, GRUCell<float>>(p, rows));
        default: return run(Sequence<float, VanillaCell<float>>(p, rows));
    }
}

static int64_t scratch_bytes(const Problem &p, int64_t rows) {
    return with_cell(p, rows, [](auto s) {
        const int64_t forward = s.forward_layout(Arena{nullptr}), backward = s.backward_layout(Arena{nullptr});
        return forward > backward ? forward : backward;
    });
}

static void forward(const Problem &p, const Piece &piece, void *scratch) {
    with_cell(p, piece.b1 - piece.b0, [&](auto s) {
        s.forward_layout(Arena{static_cast<char *>(scratch)});
        s.forward(piece);
    });
}

static void backward(const Problem &p, const Piece &piece, void *scratch, const Tensors &to) {
    with_cell(p, piece.b1 - piece.b0, [&](auto s) {
        s.backward_layout(Arena{static_cast<char *>(scratch)});
        s.backward(piece, to);
    });
}

static Served *serve(const Network &network) {
    Served *served = nullptr;
    Problem p{};
    p.cell = network.cell;
    p.is_double = network.is_double;
    p.B = p.T = 1;
    with_cell(p, 1, [&](auto s) { served = serve_with(s, network); });
    return served;
}

// These are in normals.cpp and updates.cpp, which are compiled without contraction.
void normals(const Normals &of, int64_t r, int64_t first, int64_t last);
void running_sum(const float *x, float *sum, int64_t T, int64_t n);
double squared_error(bool is_double, void *y, const void *target, const void *weight, int64_t n, int64_t O);
double squares(bool is_double, const void *x, int64_t n);
void update(const Update &);

#define TEXT(name) #name
#define NAME_OF(name) TEXT(name)
const InstructionSet code = {NAME_OF(VARIANT), scratch_bytes, forward, backward, serve, normals,
                             running_sum, squared_error, squares, update};

}  // namespace VARIANT
}  // namespace unroll
