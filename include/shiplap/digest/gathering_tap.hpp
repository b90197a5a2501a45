#pragma once
// gathering_tap: a tap that passes bytes on in large chunks, and hashes each on an executor while that chunk is written
// and the next ones are filled. It lends its chunks as a lending_sink does, so that files are read straight into them:
// nothing is copied for the hash.
//
// Chunks are hashed one after the other, oldest first. When all are full and no worker has got to them, because all
// compress, the writer hashes one itself: so it never waits for a thread that may be waiting for it. A few chunks are
// enough: if hashing in the writer keeps the compressors waiting, their queue is empty and the next chunk is taken at once.

#include <shiplap/bytes/executor.hpp>
#include <shiplap/digest/tap.hpp>

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <list>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace shiplap {

template <digest_algorithm D>
class gathering_tap {
  public:
    explicit gathering_tap(executor_ref executor = {}) : executor_{executor} {}
    gathering_tap(gathering_tap const&) = delete;
    gathering_tap& operator=(gathering_tap const&) = delete;
    /// Chunks that nobody has started to hash never will be.
    ~gathering_tap() { work_->cancel(); }

    /// Memory for the next bytes, never empty.
    template <byte_sink Out>
    [[nodiscard]] bytes_span room(Out&) {
        if (!chunk_) chunk_ = work_->empty_chunk();
        return {chunk_.get() + used_, chunk_size - used_};
    }

    /// The first `n` bytes of room() are there.
    template <byte_sink Out>
    void filled(std::size_t n, Out& out) {
        used_ += n;
        if (used_ == chunk_size) flush(out);
    }

    template <byte_sink Out>
    void write(bytes_view in, Out& out) {
        while (!in.empty()) {
            auto const to = room(out);
            auto const n = std::min(to.size(), in.size());
            std::memcpy(to.data(), in.data(), n);
            filled(n, out);
            in = in.subspan(n);
        }
    }

    template <byte_sink Out>
    void finish(Out& out) {
        flush(out);
    }

    /// A tap that has seen what was passed on: all, after finish().
    [[nodiscard]] tap<D> seen() { return {work_->hasher_of_all(), size_}; }

    /// Digest and size of all that passed. After finish().
    [[nodiscard]] content_facts facts() { return seen().facts(); }

  private:
    static constexpr std::size_t chunk_size = 4 * transfer_size; // smaller ones cost more wakings of threads
    static constexpr std::size_t most_chunks = 3;
    using chunk = std::unique_ptr<std::byte[]>;

    // What tasks refer to; they keep it alive.
    class work {
      public:
        [[nodiscard]] chunk empty_chunk() {
            std::unique_lock lock{mutex_};
            while (free_.empty() && chunks_ == most_chunks) {
                if (hashing_)
                    changed_.wait(lock);
                else
                    hash_oldest(lock);
            }
            if (!free_.empty()) {
                auto found = std::move(free_.back());
                free_.pop_back();
                return found;
            }
            free_.reserve(most_chunks); // hashing must not throw
            auto made = std::make_unique_for_overwrite<std::byte[]>(chunk_size);
            ++chunks_;
            return made;
        }

        /// True if somebody has to be called to hash it.
        [[nodiscard]] bool add(chunk bytes, std::size_t size) {
            std::lock_guard const lock{mutex_};
            full_.push_back({std::move(bytes), size});
            return !hashing_ && !std::exchange(called_, true);
        }

        void hash_all_there_is() {
            std::unique_lock lock{mutex_};
            called_ = false;
            while (!hashing_ && !full_.empty()) hash_oldest(lock);
        }

        [[nodiscard]] typename D::hasher hasher_of_all() {
            std::unique_lock lock{mutex_};
            while (hashing_ || !full_.empty()) {
                if (hashing_)
                    changed_.wait(lock);
                else
                    hash_oldest(lock);
            }
            return hasher_;
        }

        void cancel() {
            std::lock_guard const lock{mutex_};
            full_.clear();
        }

      private:
        struct filled_chunk {
            chunk bytes;
            std::size_t size;
        };

        // Who calls this holds the lock, before and after.
        void hash_oldest(std::unique_lock<std::mutex>& lock) {
            hashing_ = true;
            auto oldest = std::move(full_.front());
            full_.pop_front();
            lock.unlock();
            hasher_.update({oldest.bytes.get(), oldest.size});
            lock.lock();
            hashing_ = false;
            free_.push_back(std::move(oldest.bytes));
            changed_.notify_one();
        }

        std::mutex mutex_;
        std::condition_variable changed_; // who has set hashing_ is done with a chunk
        std::list<filled_chunk> full_;    // oldest first
        std::vector<chunk> free_;
        std::size_t chunks_ = 0; // in full_, in free_, being hashed, being filled
        bool hashing_ = false;   // whoever has set it uses hasher_ alone
        bool called_ = false;    // a task will look at full_
        typename D::hasher hasher_;
    };

    template <byte_sink Out>
    void flush(Out& out) {
        if (used_ == 0) return;
        bytes_view const in{chunk_.get(), std::exchange(used_, std::size_t{0})};
        size_ += in.size();
        // Still there when it has been hashed: only room() uses it anew.
        if (work_->add(std::move(chunk_), in.size()))
            executor_.post([work = work_] { work->hash_all_there_is(); });
        out.write(in);
    }

    executor_ref executor_;
    std::shared_ptr<work> work_ = std::make_shared<work>();
    chunk chunk_; // being filled, or none
    std::size_t used_ = 0;
    std::uint64_t size_ = 0; // of what was passed on
};

} // namespace shiplap
