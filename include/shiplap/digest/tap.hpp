#pragma once
// tap: a stage that lets bytes through unchanged and knows their digest and number at the end. One sits
// before the encoder (its digest is the diff_id of image-spec, config.md) and one after it (the digest of the
// blob).
//
// Given an executor, a tap hashes there a copy of what passes, so that hashing, the slowest step where nothing is
// compressed, overlaps both the write of these bytes and the read of the next ones.

#include <shiplap/bytes/executor.hpp>
#include <shiplap/digest/digest.hpp>

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <vector>

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
    tap(tap const&) = delete; // a task refers to this
    tap& operator=(tap const&) = delete;
    ~tap() { wait(); }

    template <byte_sink Out>
    void write(bytes_view in, Out& out) {
        size_ += in.size();
        for (auto rest = in; !rest.empty();) {
            auto const piece = rest.first(std::min(rest.size(), largest_copy));
            hash(piece);
            rest = rest.subspan(piece.size());
        }
        out.write(in);
    }

    template <byte_sink Out>
    void finish(Out&) noexcept {}

    /// A tap that has seen what this one has; both go on independently.
    [[nodiscard]] tap fork() {
        wait();
        return {hasher_, size_};
    }

    /// Digest and size of all that passed. Call once, after the last write().
    [[nodiscard]] content_facts facts() {
        wait();
        return {digest::from_raw<D>(hasher_.finish()), size_};
    }

  private:
    tap(typename D::hasher const& hasher, std::uint64_t size) : hasher_{hasher}, size_{size} {}

    void hash(bytes_view piece) {
        if (executor_.concurrency() == 0 || piece.size() < worth_a_task) {
            wait();
            hasher_.update(piece);
            return;
        }
        next_.assign(piece.begin(), piece.end()); // while the piece before is still being hashed
        wait();
        hashed_.swap(next_);
        hashing_ = true;
        executor_.post([this] {
            hasher_.update(hashed_);
            std::lock_guard const lock{
                mutex_}; // held while notifying: then the waiter cannot be gone too early
            hashing_ = false;
            idle_.notify_one();
        });
    }

    void wait() {
        std::unique_lock lock{mutex_};
        idle_.wait(lock, [this] { return !hashing_; });
    }

    static constexpr std::size_t worth_a_task =
        64 * 1024; // hashing less costs about as much as waking a thread
    static constexpr std::size_t largest_copy = 4 * transfer_size;

    executor_ref executor_;
    typename D::hasher hasher_;
    std::uint64_t size_ = 0;

    std::mutex mutex_;
    std::condition_variable idle_;
    bool hashing_ = false; // if so, the task alone uses hasher_ and hashed_
    std::vector<std::byte> hashed_, next_;
};

} // namespace shiplap
