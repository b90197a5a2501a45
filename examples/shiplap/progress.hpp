#pragma once
// How the command shows progress on standard error: bars on a terminal, plain lines elsewhere, or JSON lines.

#include <shiplap/bytes/progress.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

namespace shiplap_command {

enum class progress_style { tty, plain, json, none };

/// "auto" is tty where standard error is a terminal, else plain. Throws option_error for an unknown name.
progress_style parse_progress_style(std::string const& name);

/// Set by the handler of SIGINT and SIGTERM; the observer turns it into an exception, so that everything unwinds.
extern std::atomic<int> interrupted_by;
struct interrupted {
    int signal;
};

/// A progress_observer.
class progress_display {
  public:
    explicit progress_display(progress_style style) noexcept : style_{style} {}
    progress_display(progress_display const&) = delete;
    progress_display& operator=(progress_display const&) = delete;
    ~progress_display();

    void operator()(shiplap::progress_event const& event);
    [[nodiscard]] bool wants_totals() const noexcept { return style_ == progress_style::tty || style_ == progress_style::json; }

  private:
    using clock = std::chrono::steady_clock;
    struct activity {
        std::string verb, subject;
        std::uint64_t done = 0;
        std::optional<std::uint64_t> total;
        clock::time_point started;
        bool finished = false;
    };

    void show_json(shiplap::progress_event const& event, clock::time_point now);
    void show_plain(shiplap::progress_event const& event, activity const& one, clock::time_point now) const;
    void redraw(clock::time_point now, bool force);
    void erase_bars();

    progress_style style_;
    std::mutex mutex_;
    std::map<std::uint64_t, activity> activities_;
    std::map<std::uint64_t, clock::time_point> told_; // last JSON line of an activity
    clock::time_point drawn_at_{};
    std::size_t lines_drawn_ = 0;
};

/// "1.5 MiB".
std::string human_size(std::uint64_t bytes);

} // namespace shiplap_command
