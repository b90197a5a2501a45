#pragma once
// Where work inside a stage runs. A stage posts blocks and waits for them itself, so two operations are enough:
//
//   expression          meaning
//   e.concurrency()     how many posted tasks may run at once; 0: none, post() runs the task before it returns
//   e.post(task)        runs `task` once, on some thread; the task must not throw
//
// What a stage writes must not depend on that number. Models: inline_executor (the default), thread_pool.

#include <concepts>
#include <condition_variable>
#include <functional>
#include <list>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace shiplap {

template <class E>
concept executor = requires(E& e, std::function<void()> task) {
    { e.concurrency() } -> std::convertible_to<unsigned>;
    e.post(std::move(task));
};

/// Runs every task in the caller: no thread, no lock.
struct inline_executor {
    [[nodiscard]] unsigned concurrency() const noexcept { return 0; }
    void post(std::function<void()> const& task) { task(); }
};

/// A fixed number of threads and a queue. The destructor finishes what was posted.
class thread_pool {
  public:
    /// `workers` threads, at least one.
    explicit thread_pool(unsigned workers) {
        threads_.reserve(workers == 0 ? 1 : workers);
        for (unsigned i = 0; i == 0 || i < workers; ++i) threads_.emplace_back([this] { work(); });
    }
    thread_pool(thread_pool const&) = delete;
    thread_pool& operator=(thread_pool const&) = delete;
    ~thread_pool() {
        {
            std::lock_guard lock{mutex_};
            closing_ = true;
        }
        wake_.notify_all();
        for (auto& thread : threads_) thread.join();
    }

    [[nodiscard]] unsigned concurrency() const noexcept { return static_cast<unsigned>(threads_.size()); }

    void post(std::function<void()> task) {
        {
            std::lock_guard lock{mutex_};
            tasks_.push_back(std::move(task));
        }
        wake_.notify_one();
    }

  private:
    void work() {
        for (;;) {
            std::unique_lock lock{mutex_};
            wake_.wait(lock, [this] { return closing_ || !tasks_.empty(); });
            if (tasks_.empty()) return;
            auto task = std::move(tasks_.front());
            tasks_.pop_front();
            lock.unlock();
            task();
        }
    }

    std::mutex mutex_;
    std::condition_variable wake_;
    std::list<std::function<void()>> tasks_;
    bool closing_ = false;
    std::vector<std::thread> threads_;
};

/// A reference to any executor, so that an encoder is no template over it. Default: runs everything in the
/// caller. Knows how many use it at the same time, so that what they keep in memory for it adds up to no more.
class executor_ref {
  public:
    executor_ref() noexcept
        : object_{nullptr}, concurrency_{0}, post_{[](void*, std::function<void()> task) { task(); }} {}

    template <executor E>
        requires(!std::same_as<std::remove_cv_t<E>, executor_ref>)
    executor_ref(E& e)
    noexcept // NOLINT(google-explicit-constructor): a reference, as E& would be
        : object_{&e}, concurrency_{e.concurrency()}, post_{[](void* object, std::function<void()> task) {
              static_cast<E*>(object)->post(std::move(task));
          }} {}

    [[nodiscard]] unsigned concurrency() const noexcept { return concurrency_; }
    /// How many users share it, at least one.
    [[nodiscard]] unsigned users() const noexcept { return users_; }
    /// The same for one of so many users.
    [[nodiscard]] executor_ref shared_by(unsigned users) const noexcept {
        auto one = *this;
        one.users_ *= users;
        return one;
    }
    void post(std::function<void()> task) const { post_(object_, std::move(task)); }

  private:
    void* object_;
    unsigned concurrency_;
    unsigned users_ = 1;
    void (*post_)(void*, std::function<void()>);
};

} // namespace shiplap
