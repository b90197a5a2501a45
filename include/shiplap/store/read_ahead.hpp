#pragma once
// read_ahead: reads a source on a thread of its own, a few pieces ahead of who wants the bytes. So a verified_source is
// hashed while what it gave before is on its way through a socket: hashing takes longer than sending.

#include <shiplap/bytes/concept.hpp>

#include <algorithm>
#include <array>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

namespace shiplap {

/// A replayable_source. The thread starts with the first read() and ends with the last byte; what `R` throws comes out of
/// read() behind the bytes before it.
template <replayable_source R>
class read_ahead {
  public:
    explicit read_ahead(R from) : self_{std::make_unique<state>(std::move(from))} {}

    std::size_t read(bytes_span into) { return self_->read(into); }
    void rewind() { self_->rewind(); }

  private:
    static constexpr std::size_t most_pieces = 3,
                                 piece_size = 2 * transfer_size; // smaller ones wake threads too often

    class state {
      public:
        explicit state(R from) : from_{std::move(from)} {}
        state(state const&) = delete; // the thread refers to this
        state& operator=(state const&) = delete;
        ~state() { stop(); }

        std::size_t read(bytes_span into) {
            if (into.empty()) return 0;
            if (!started_) start();
            {
                std::unique_lock lock{mutex_};
                changed_.wait(lock, [this] { return filled_ != taken_ || ended_; });
                if (filled_ == taken_ && failure_) std::rethrow_exception(failure_);
                if (filled_ == taken_) return 0;
            }
            auto const& next = pieces_[taken_ % most_pieces]; // ours until it counts as taken
            auto const n = std::min(into.size(), next.size - at_);
            std::memcpy(into.data(), next.bytes.get() + at_, n);
            at_ += n;
            if (at_ == next.size) {
                at_ = 0;
                std::lock_guard const lock{mutex_};
                ++taken_;
                changed_.notify_one();
            }
            return n;
        }

        void rewind() {
            stop();
            from_.rewind();
            filled_ = taken_ = at_ = 0;
            started_ = stopped_ = ended_ = false;
            failure_ = nullptr;
        }

      private:
        struct piece {
            std::unique_ptr<std::byte[]> bytes;
            std::size_t size = 0;
        };

        void start() {
            for (auto& one : pieces_)
                if (!one.bytes) one.bytes = std::make_unique_for_overwrite<std::byte[]>(piece_size);
            thread_ = std::thread{[this] { work(); }};
            started_ = true;
        }
        void stop() {
            {
                std::lock_guard const lock{mutex_};
                stopped_ = true;
                changed_.notify_one();
            }
            if (thread_.joinable()) thread_.join();
        }

        void work() {
            try {
                while (fill()) {
                }
            } catch (...) {
                failure_ = std::current_exception(); // seen by the reader only with ended_
            }
            std::lock_guard const lock{mutex_};
            ended_ = true;
            changed_.notify_one();
        }
        // False when there is nothing more to do.
        bool fill() {
            {
                std::unique_lock lock{mutex_};
                changed_.wait(lock, [this] { return filled_ - taken_ < most_pieces || stopped_; });
                if (stopped_) return false;
            }
            auto& next = pieces_[filled_ % most_pieces]; // ours until it counts as filled
            next.size = from_.read({next.bytes.get(), piece_size});
            if (next.size == 0) return false;
            std::lock_guard const lock{mutex_};
            ++filled_;
            changed_.notify_one();
            return true;
        }

        R from_;
        std::array<piece, most_pieces> pieces_{};
        std::size_t at_ = 0; // bytes taken of the piece that is being taken
        std::thread thread_;
        bool started_ = false;

        std::mutex mutex_; // of what follows
        std::condition_variable changed_;
        std::uint64_t filled_ = 0, taken_ = 0; // pieces
        bool stopped_ = false, ended_ = false;
        std::exception_ptr failure_;
    };

    std::unique_ptr<state> self_; // stays where it is when this is moved
};

} // namespace shiplap
