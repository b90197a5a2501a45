#pragma once
// activity: one piece of work as an observer sees it, and a stage that counts the bytes of one.

#include <shiplap/bytes/concept.hpp>
#include <shiplap/bytes/progress.hpp>

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace shiplap::detail {

inline std::uint64_t next_activity_id() noexcept {
    static std::atomic<std::uint64_t> last{0};
    return ++last;
}

/// Tells an observer about one activity, every 64 KiB: an observer that wants to stop the work, by an
/// exception, gets to it soon even where few bytes make many files.
class activity {
  public:
    activity(progress_ref progress, std::string_view verb, std::string subject,
             std::optional<std::uint64_t> total)
        : progress_{progress}, subject_{std::move(subject)} {
        event_.id = next_activity_id();
        event_.activity = verb;
        event_.subject = subject_;
        event_.total = total;
        progress_(event_);
    }
    activity(activity const&) = delete; // event_ refers to subject_
    activity& operator=(activity const&) = delete;
    ~activity() = default;

    void advance(std::uint64_t bytes) {
        event_.done += bytes;
        if (event_.done - told_ < interval) return;
        told_ = event_.done;
        tell(progress_event::kind::advanced);
    }
    /// The total has turned out to be another one.
    void expect(std::uint64_t total) { event_.total = total; }
    void wait() { tell(progress_event::kind::waiting); }
    void finish() { tell(progress_event::kind::finished); }

  private:
    static constexpr std::uint64_t interval = 64 * 1024;
    void tell(progress_event::kind what) {
        event_.what = what;
        progress_(event_);
    }

    progress_ref progress_;
    std::string subject_;
    progress_event event_;
    std::uint64_t told_ = 0;
};

/// A stage that counts for an activity.
struct meter {
    activity& told;
    template <byte_sink Out>
    void write(bytes_view in, Out& out) {
        out.write(in);
        told.advance(in.size());
    }
    template <lending_sink Out>
    [[nodiscard]] bytes_span room(Out& out) {
        return out.room();
    }
    template <lending_sink Out>
    void filled(std::size_t n, Out& out) {
        out.filled(n);
        told.advance(n);
    }
    template <byte_sink Out>
    void finish(Out&) noexcept {}
};

} // namespace shiplap::detail
