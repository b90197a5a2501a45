#pragma once
// tap: a stage that lets bytes through unchanged and knows their digest and number at the end. One sits
// before the encoder (its digest is the diff_id of image-spec, config.md) and one after it (the digest of the
// blob).
//
// Given an executor, a tap hashes large chunks there while the next stage works on the same chunk; it waits
// for the hash before write() returns, so nothing is copied and the order stays.

#include <shiplap/bytes/executor.hpp>
#include <shiplap/digest/digest.hpp>

#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace shiplap {

/// What a tap saw.
struct content_facts {
    shiplap::digest digest;
    std::uint64_t size = 0; ///< bytes
};

template <digest_algorithm D>
class tap {
  public:
    tap() = default;
    explicit tap(executor_ref executor) noexcept : executor_{executor} {}

    template <byte_sink Out>
    void write(bytes_view in, Out& out) {
        size_ += in.size();
        if (executor_.concurrency() == 0 || in.size() < worth_a_task) {
            hasher_.update(in);
            out.write(in);
            return;
        }
        completion
            hashed; // its destructor waits, also when out.write() throws: the task refers to this frame
        executor_.post([this, in, &hashed] {
            hasher_.update(in);
            hashed.signal();
        });
        out.write(in);
    }

    template <byte_sink Out>
    void finish(Out&) noexcept {}

    /// Digest and size of all that passed. Call once, after the last write().
    [[nodiscard]] content_facts facts() { return {digest::from_raw<D>(hasher_.finish()), size_}; }

  private:
    class completion {
      public:
        completion() = default;
        completion(completion const&) = delete;
        completion& operator=(completion const&) = delete;
        ~completion() {
            std::unique_lock lock{mutex_};
            ready_.wait(lock, [this] { return done_; });
        }
        void signal() {
            std::lock_guard const lock{
                mutex_}; // held while notifying: then the waiter cannot be gone too early
            done_ = true;
            ready_.notify_one();
        }

      private:
        std::mutex mutex_;
        std::condition_variable ready_;
        bool done_ = false;
    };

    static constexpr std::size_t worth_a_task =
        64 * 1024; // hashing less costs about as much as waking a thread

    executor_ref executor_;
    typename D::hasher hasher_;
    std::uint64_t size_ = 0;
};

} // namespace shiplap
