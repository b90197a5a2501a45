#pragma once
// overall_progress: how far the delivery of a whole image is, beside the activities of its contents. What turns out to be
// there already counts as less to do, so that rate and remaining time are those of the bytes that move.

#include <shiplap/bytes/activity.hpp>
#include <shiplap/bytes/progress.hpp>
#include <shiplap/image/descriptor.hpp>

#include <cstdint>
#include <mutex>
#include <optional>

namespace shiplap::detail {

/// Activity "deliver", the root's digest as subject. Used on several threads at once.
class overall_progress {
  public:
    explicit overall_progress(progress_ref progress) : progress_{progress} {}

    /// What the image has in all; known only after some of it may have gone.
    void expect(descriptor const& root, std::uint64_t bytes) {
        std::lock_guard const lock{mutex_};
        bytes_ = bytes;
        told_.emplace(progress_, "deliver", root.digest.text(), left());
        told_->advance(moved_);
    }
    void moved(std::uint64_t bytes) {
        std::lock_guard const lock{mutex_};
        moved_ += bytes;
        if (told_) told_->advance(bytes);
    }
    /// These need not move.
    void spared(std::uint64_t bytes) {
        std::lock_guard const lock{mutex_};
        spared_ += bytes;
        if (told_) told_->expect(left());
    }
    void finish() {
        std::lock_guard const lock{mutex_};
        if (told_) told_->finish();
    }

  private:
    [[nodiscard]] std::uint64_t left() const noexcept { return bytes_ > spared_ ? bytes_ - spared_ : 0; }

    progress_ref progress_;
    std::mutex mutex_;
    std::optional<activity> told_;
    std::uint64_t bytes_ = 0, moved_ = 0, spared_ = 0;
};

} // namespace shiplap::detail
