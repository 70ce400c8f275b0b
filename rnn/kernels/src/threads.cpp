#include "threads.h"

#include <chrono>
#include <map>
#include <unistd.h>

namespace unroll {

// It bridges the gap between a training step's two passes, but is too short to take a core from other processes.
static constexpr std::chrono::microseconds SPIN{200};

template <class Condition> static bool spin_until(Condition holds) {
    const auto end = std::chrono::steady_clock::now() + SPIN;
    do {
        for (int i = 0; i < 64; ++i) {
            if (holds()) return true;
#if defined(__x86_64__)
            __builtin_ia32_pause();
#endif
        }
    } while (std::chrono::steady_clock::now() < end);
    return holds();
}

Team::Team(int64_t threads) : threads_(threads) {
    // Threads are detached: they sleep on a condition until the process ends, because a team is never destroyed.
    for (int64_t i = 1; i < threads; ++i) std::thread([this, i] { member(i); }).detach();
}

void Team::member(int64_t index) {
    for (uint64_t seen = 0;;) {
        const auto called = [&] { return round_.load(std::memory_order_acquire) != seen; };
        if (!spin_until(called)) {
            std::unique_lock<std::mutex> lock(mutex_);
            begin_.wait(lock, called);
        }
        ++seen;
        (*work_)(index);
        if (working_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
            std::lock_guard<std::mutex> lock(mutex_);
            end_.notify_one();
        }
    }
}

void Team::run(const std::function<void(int64_t)> &work) {
    if (threads_ == 1) return work(0);
    std::lock_guard<std::mutex> alone(busy_);
    {
        std::lock_guard<std::mutex> lock(mutex_);
        work_ = &work;
        working_.store(threads_ - 1, std::memory_order_relaxed);
        round_.fetch_add(1, std::memory_order_release);
    }
    begin_.notify_all();
    work(0);
    const auto done = [&] { return working_.load(std::memory_order_acquire) == 0; };
    if (!spin_until(done)) {
        std::unique_lock<std::mutex> lock(mutex_);
        end_.wait(lock, done);
    }
}

Team &Team::of(int64_t threads) {
    static std::mutex mutex;
    static std::map<std::pair<pid_t, int64_t>, Team *> teams;
    std::lock_guard<std::mutex> lock(mutex);
    Team *&team = teams[{getpid(), threads}];
    if (!team) team = new Team(threads);
    return *team;
}

}  // namespace unroll
