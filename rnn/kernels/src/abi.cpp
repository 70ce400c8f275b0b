// The plain C interface that rnn/kernels/abi.py loads. It selects the code for this processor, assigns sequences to
// threads, and adds up the gradients of replicas that several threads share, in the threads' order.
//
// The assignment depends only on the sizes and the number of threads, so the same call gives the same bits however busy
// the machine is.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <new>
#include <vector>

#include "kernel.h"
#include "threads.h"

using namespace unroll;

constexpr int64_t FEW_NORMALS_CHUNKS = 16;  // about 0.1 ms, much longer than waking a thread takes

static const InstructionSet *best() {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("bmi2"))
        return &avx512::code;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2"))
        return &avx2::code;
#endif
    return &portable::code;
}

static const InstructionSet *named(const char *name) {
    const InstructionSet *usable[] = {
#if defined(__x86_64__)
        &avx512::code, &avx2::code,
#endif
        &portable::code};
    bool reached = false;  // a processor that has one of them also has those after it
    for (const InstructionSet *set : usable) {
        reached = reached || set == best();
        if (reached && !std::strcmp(name, set->name)) return set;
    }
    return nullptr;
}

// Returns the instruction set of this name, or the best one for ""; nullptr if this processor lacks it.
static const InstructionSet *chosen(const char *name) { return *name ? named(name) : best(); }

namespace {

constexpr int TENSORS = sizeof(Tensors) / sizeof(Tensor);

Tensor *each(Tensors &tensors) { return reinterpret_cast<Tensor *>(&tensors); }

// Sizes of one replica's tensors, in the order of Tensors.
void sizes(const Problem &p, int64_t *n) {
    const int64_t gates = p.cell == LSTM ? 4 : p.cell == GRU ? 3 : 1;
    const int64_t of[TENSORS] = {gates * p.H * p.I, gates * p.H, gates * p.H * p.H, gates * p.H,
                                 p.O * p.H,         p.O,         p.H};
    std::memcpy(n, of, sizeof of);
}

struct Plan {
    Problem problem;
    const InstructionSet *set;
    int64_t threads;
    std::vector<std::vector<Piece>> pieces;   // for each thread
    std::vector<void *> scratch;              // for each thread
    std::vector<std::vector<Tensors>> shared; // for each thread and piece: gradients to which others add
    std::vector<void *> memory;
};

void *allocate(Plan &plan, int64_t bytes) {
    void *p = std::aligned_alloc(64, (bytes + 63) / 64 * 64 + 64);
    if (p) plan.memory.push_back(p);
    return p;
}

template <class T> void add_up(const Plan &plan) {
    int64_t n[TENSORS];
    sizes(plan.problem, n);
    std::vector<bool> begun(plan.problem.R, false);
    for (int64_t thread = 0; thread < plan.threads; ++thread)
        for (size_t i = 0; i < plan.pieces[thread].size(); ++i) {
            Tensors part = plan.shared[thread][i], to = plan.problem.gradients;
            if (!part.W_xh.data) continue;
            const int64_t r = plan.pieces[thread][i].r;
            for (int k = 0; k < TENSORS; ++k) {
                if (!each(to)[k].data) continue;
                T *out = static_cast<T *>(each(to)[k].data) + r * each(to)[k].stride;
                const T *in = static_cast<T *>(each(part)[k].data);
                if (begun[r])
                    for (int64_t j = 0; j < n[k]; ++j) out[j] += in[j];
                else
                    std::memcpy(out, in, n[k] * sizeof(T));
            }
            begun[r] = true;
        }
}

}  // namespace

#define EXPORT __attribute__((visibility("default")))
extern "C" {

EXPORT const char *unroll_instruction_set() { return best()->name; }

EXPORT const char *unroll_version() { return UNROLL_VERSION; }

EXPORT int64_t unroll_problem_bytes() { return sizeof(Problem); }

EXPORT void unroll_free(void *plan) {
    if (!plan) return;
    for (void *p : static_cast<Plan *>(plan)->memory) std::free(p);
    delete static_cast<Plan *>(plan);
}

EXPORT int64_t unroll_network_bytes() { return sizeof(Network); }

EXPORT int64_t unroll_rows_bytes() { return sizeof(Rows); }

// Packs a network's weights. Returns nullptr if there is no memory, or the processor lacks the instruction set.
EXPORT void *unroll_serve(const Network *network, const char *instruction_set) {
    const InstructionSet *set = chosen(instruction_set);
    return set ? set->serve(*network) : nullptr;
}

// Returns false if there is no memory.
EXPORT bool unroll_run(const void *served, const Rows *rows) {
    try {
        static_cast<const Served *>(served)->run(*rows);
        return true;
    } catch (const std::bad_alloc &) {
        return false;
    }
}

EXPORT void unroll_unserve(void *served) { delete static_cast<Served *>(served); }

EXPORT int64_t unroll_normals_bytes() { return sizeof(Normals); }

// Draws standard normals (normals.cpp), the same on any number of threads. Returns false if the processor lacks the
// instruction set ("" is the best one).
EXPORT bool unroll_normals(const Normals *of, int64_t threads, const char *instruction_set) {
    const InstructionSet *set = chosen(instruction_set);
    if (!set) return false;
    const int64_t n = of->rows * of->width, chunks = (n + NORMALS_CHUNK - 1) / NORMALS_CHUNK, all = of->R * chunks;
    const int64_t used = all < FEW_NORMALS_CHUNKS ? 1 : threads;
    Team::of(used).run([&](int64_t thread) {
        for (int64_t at = all * thread / used, end = all * (thread + 1) / used; at < end;) {
            const int64_t r = at / chunks, first = at % chunks, last = std::min(chunks, first + end - at);
            set->normals(*of, r, first * NORMALS_CHUNK, std::min(n, last * NORMALS_CHUNK));
            at += last - first;
        }
    });
    return true;
}

// Computes running sums over the rows of R arrays of T rows of n numbers.
EXPORT void unroll_running_sum(const float *x, float *sum, int64_t R, int64_t T, int64_t n) {
    for (int64_t r = 0; r < R; ++r) best()->running_sum(x + r * T * n, sum + r * T * n, T, n);
}

EXPORT int64_t unroll_update_bytes() { return sizeof(Update); }

// The functions below return false, and do nothing, if the processor lacks the instruction set ("" is the best one).

// For R replicas of n rows of O outputs: overwrites y with the derivative, and writes loss [R], which is scale [R] times
// Σ w (y - target)².
EXPORT bool unroll_squared_error(bool is_double, void *y, const void *target, const void *weight, const void *scale,
                                 void *loss, int64_t R, int64_t n, int64_t O, const char *instruction_set) {
    const InstructionSet *set = chosen(instruction_set);
    if (!set) return false;
    const int64_t size = is_double ? 8 : 4;
    const auto at = [size](const void *p, int64_t i) { return p ? static_cast<const char *>(p) + i * size : nullptr; };
    for (int64_t r = 0; r < R; ++r) {
        const double sum = set->squared_error(is_double, const_cast<char *>(at(y, r * n * O)), at(target, r * n * O),
                                              at(weight, r * n), n, O);
        if (is_double)
            static_cast<double *>(loss)[r] = sum * static_cast<const double *>(scale)[r];
        else
            static_cast<float *>(loss)[r] = float(sum * static_cast<const float *>(scale)[r]);
    }
    return true;
}

// Writes norm [R], the root of the sum of squares of each row of P numbers.
EXPORT bool unroll_norms(bool is_double, const void *x, int64_t R, int64_t P, double *norm, const char *instruction_set) {
    const InstructionSet *set = chosen(instruction_set);
    if (!set) return false;
    for (int64_t r = 0; r < R; ++r)
        norm[r] = std::sqrt(set->squares(is_double, static_cast<const char *>(x) + r * P * (is_double ? 8 : 4), P));
    return true;
}

EXPORT bool unroll_update(const Update *update, const char *instruction_set) {
    const InstructionSet *set = chosen(instruction_set);
    if (set) set->update(*update);
    return set;
}

// Returns nullptr if there is no memory, or the processor lacks the requested instruction set ("" is the best one).
EXPORT void *unroll_plan(const Problem *problem, int64_t threads, const char *instruction_set) {
    const InstructionSet *set = chosen(instruction_set);
    if (!set) return nullptr;
    Plan *plan = new Plan{*problem, set, threads, {}, {}, {}, {}};
    const Problem &p = plan->problem;
    const int64_t size = p.is_double ? 8 : 4, total = p.R * p.B;
    int64_t n[TENSORS];
    sizes(p, n);
    for (int64_t thread = 0; thread < threads; ++thread) {
        std::vector<Piece> pieces;
        std::vector<Tensors> shared;
        int64_t scratch = 0;
        for (int64_t at = total * thread / threads, end = total * (thread + 1) / threads; at < end;) {
            const int64_t r = at / p.B, stop = (r + 1) * p.B < end ? (r + 1) * p.B : end;
            const Piece piece{r, at - r * p.B, stop - r * p.B};
            Tensors part{};
            if (piece.b1 - piece.b0 < p.B)
                for (int k = 0; k < TENSORS; ++k)
                    if (!(each(part)[k].data = allocate(*plan, n[k] * size))) return unroll_free(plan), nullptr;
            pieces.push_back(piece);
            shared.push_back(part);
            const int64_t need = set->scratch_bytes(p, piece.b1 - piece.b0);
            scratch = need > scratch ? need : scratch;
            at = stop;
        }
        plan->pieces.push_back(pieces);
        plan->shared.push_back(shared);
        plan->scratch.push_back(allocate(*plan, scratch));
        if (!plan->scratch.back()) return unroll_free(plan), nullptr;
    }
    return plan;
}

EXPORT void unroll_forward(void *handle) {
    const Plan &plan = *static_cast<Plan *>(handle);
    Team::of(plan.threads).run([&](int64_t thread) {
        for (const Piece &piece : plan.pieces[thread]) plan.set->forward(plan.problem, piece, plan.scratch[thread]);
    });
}

EXPORT void unroll_backward(void *handle) {
    const Plan &plan = *static_cast<Plan *>(handle);
    Team::of(plan.threads).run([&](int64_t thread) {
        for (size_t i = 0; i < plan.pieces[thread].size(); ++i) {
            const Piece &piece = plan.pieces[thread][i];
            Tensors to = plan.shared[thread][i];
            if (!to.W_xh.data) {  // it has its replica's whole batch, so it writes to the result itself
                const int64_t size = plan.problem.is_double ? 8 : 4;
                to = plan.problem.gradients;
                for (int k = 0; k < TENSORS; ++k)
                    if (each(to)[k].data)
                        each(to)[k].data = static_cast<char *>(each(to)[k].data) + piece.r * each(to)[k].stride * size;
            }
            plan.set->backward(plan.problem, piece, plan.scratch[thread], to);
        }
    });
    plan.problem.is_double ? add_up<double>(plan) : add_up<float>(plan);
}
}
