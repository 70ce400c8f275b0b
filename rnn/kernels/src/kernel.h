// The sizes and addresses that the kernel computes with. Plain C types: rnn/kernels/abi.py mirrors these structs.
//
// Axes as in rnn/__init__.py: R replicas, T time steps, B sequences, I inputs, H hidden units, O outputs. Rows of H
// numbers are padded to a multiple of 64 bytes, S numbers a row, so that every vector load is aligned: h is [R,T,B,S].
#pragma once
#include <cstdint>

#define UNROLL_VERSION "native-4"  // see rnn/kernels/abi.py

namespace unroll {

// One tensor of R replicas: replica r starts at data + r * stride and is contiguous. data == nullptr: there is none.
struct Tensor {
    void *data;
    int64_t stride;
};

// Names as in rnn/networks/parameters.py. Gated cells stack their gates along H: W_xh [G*H,I], W_hh [G*H,H], b [G*H]. A leaky
// cell's alpha is dt/tau of each unit [H]; its gradient exists if tau is learned; for potentials it is times alpha.
struct Tensors {
    Tensor W_xh, b_x, W_hh, b_h, W_hy, b_y, alpha;
};

enum Cell : int64_t { VANILLA = 0, LEAKY_RATES = 1, LEAKY_POTENTIALS = 2, LSTM = 3, GRU = 4 };
enum Activation : int64_t { TANH = 0, RELU = 1, IDENTITY = 2, SIGMOID = 3, LEAKY_RELU = 4, SATURATED_RELU = 5, SOFTPLUS = 6 };

struct Problem {
    int64_t cell, activation, is_double;
    int64_t R, T, B, I, H, O;  // O = 0: no readout; then dL/dh comes from outside
    int64_t S;                 // numbers in a row of h
    int64_t x_row, dx_row, dh_row;  // distance of rows of x, dx, dh, in numbers
    int64_t first_output;  // y and dy begin at this time step: 0, or T - 1 if only the last step is read
    void *x;         // [R,T,B,I]
    void *h;         // [R,T,B,S], written by forward, read by backward
    void *c;         // LSTM: cell states; leaky potentials: potentials; [R,T,B,S]
    void *gates;     // what backward needs from the pre-activations' blocks [R,T,blocks,B,S]; vanilla and potentials: none;
                     // LSTM [R,T,S/V,B,4,V], V numbers being a vector of the instruction set
    void *y;         // [R,T - first_output,B,O], written by forward
    void *dy;        // dL/dy in the same shape, read by backward
    void *dh;        // [R,T,B,H] or nullptr: other gradients of h, added to those from the readout
    void *dc;        // [R,T,B,S] or nullptr: other gradients of c, in rows of S
    void *dx;        // [R,T,B,I] or nullptr if it is not needed
    void *noise;     // [R,T,B,S] or nullptr: added to the pre-activations
    void *h_first;   // the state before the first step [R,B,S], or nullptr for zeros; potentials use only c_first
    void *c_first;
    void *dh_first;  // its gradient [R,B,S], if there is such a state
    void *dc_first;
    Tensors weights;
    Tensors gradients;  // written, not added to
};

// The sequences b0 … b1-1 of replica r, which one thread runs through all time steps.
struct Piece {
    int64_t r, b0, b1;
};

// One network to serve, a stack of L layers of the same cell with a readout. `layers` [L] has each layer's tensors, which
// are copied; the last one's W_hy and b_y are the readout. Layer 0 reads I numbers, the others H.
struct Network {
    int64_t cell, activation, is_double;
    int64_t L, I, H, O;
    const Tensors *layers;
};

// N sequences to run through a network, longest first. running [T] says how many still run at each step.
struct Rows {
    int64_t T, N;
    const int64_t *running;
    const void *x;        // [T,N,I]
    const void *start;    // [L,states,N,H], or nullptr for zeros; the states are h, and c of an LSTM
    void *end;            // the same after each sequence's last step, or nullptr
    void *y;              // [T,N,O], or [N,O] after each sequence's last step if only_last; or nullptr
    void *hidden;         // [T,N,H] of the last layer, or nullptr
    int64_t only_last;
};

// A network whose weights are packed. `run` may be called by several threads at once.
struct Served {
    virtual void run(const Rows &) const = 0;
    virtual ~Served() = default;
};

// The body of a plain prediction request; see posted.cpp.
struct Posted {
    const char *body;
    int64_t bytes, I, is_double;
    int64_t most;      // sequences that `lengths` has room for
    void *x;           // written: the steps [I] of all sequences, one after another
    int64_t *lengths;  // written: the number of steps of each sequence
    int64_t N;         // written: sequences
    int64_t replica;   // written: -1 for the best
    int64_t inputs_alone;  // written: whether there is no other field than inputs
};

// One update of R rows of P parameters; see rnn/training/optimisers.py. Parameters and their moments are [1 + moments, R, P].
enum Rule : int64_t { ADAM = 0, RMSPROP = 1, SGD = 2 };
struct Update {
    int64_t rule, moments, R, P;
    int64_t step;  // updates so far, this one included
    double lr, beta1, beta2, eps, weight_decay;  // beta1 is also momentum, beta2 RMSprop's alpha
    float *memory;
    const float *gradients;
    const bool *skipped;  // [R]: rows to leave alone
    bool *broken;         // [R], written: rows left alone because a number would have become infinite or NaN
};

// R arrays of `rows` rows of `width` standard normals times scale [width], if it is there; see rnn/randomness/normals.py.
struct Normals {
    const uint64_t *keys;  // [R,2]
    uint64_t array, step;
    int64_t R, rows, width;
    int64_t replica, row;  // distance of replicas and of rows, in numbers
    float *out;
    const float *scale;
};
constexpr int64_t NORMALS_CHUNK = 4096;  // numbers drawn at a time; whole blocks of Philox

// One instruction set's code. Gradients of a piece go to `to`, laid out like the tensors of one replica.
struct InstructionSet {
    const char *name;
    int64_t (*scratch_bytes)(const Problem &, int64_t rows);
    void (*forward)(const Problem &, const Piece &, void *scratch);
    void (*backward)(const Problem &, const Piece &, void *scratch, const Tensors &to);
    Served *(*serve)(const Network &);  // nullptr: no memory
    void (*normals)(const Normals &of, int64_t r, int64_t first, int64_t last);  // draws these numbers of replica r
    void (*running_sum)(const float *x, float *sum, int64_t T, int64_t n);
    double (*squared_error)(bool is_double, void *y, const void *target, const void *weight, int64_t n, int64_t O);
    double (*squares)(bool is_double, const void *x, int64_t n);
    void (*update)(const Update &);
};

namespace portable { extern const InstructionSet code; }
#if defined(__x86_64__)
namespace avx2 { extern const InstructionSet code; }
namespace avx512 { extern const InstructionSet code; }
#endif

}  // namespace unroll
