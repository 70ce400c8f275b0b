// A team of threads that runs one function per thread and waits for all.
#pragma once
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace unroll {

class Team {
public:
    explicit Team(int64_t threads);
    // Calls work(0) … work(threads - 1), each on a thread of its own, work(0) on the caller's. One caller at a time.
    void run(const std::function<void(int64_t)> &work);
    // Returns this process's team of so many threads. The first call makes it, and it is kept for ever. After a fork the
    // child's first call makes a new one, because threads do not survive a fork.
    static Team &of(int64_t threads);

private:
    void member(int64_t index);
    std::mutex busy_, mutex_;
    std::condition_variable begin_, end_;
    std::atomic<uint64_t> round_{0};
    std::atomic<int64_t> working_{0};
    const std::function<void(int64_t)> *work_ = nullptr;
    int64_t threads_;
};

}  // namespace unroll
