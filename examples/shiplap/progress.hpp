#pragma once
// How the command shows progress on standard error: bars on a terminal, plain lines elsewhere, or JSON lines.

#include <shiplap/bytes/progress.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>

namespace shiplap_command {

enum class progress_style {
    tty,   ///< a bar for each activity under way
    plain, ///< a line for each finished activity, and every few seconds for one that takes long
    json, ///< an object per line: event, id, activity, subject, bytes, total where known; or a warning's text
    none, ///< only warnings
};

/// "auto" is tty where standard error is a terminal, else plain. Throws option_error for an unknown name.
progress_style parse_progress_style(std::string const& name);

/// A progress_observer; after a signal it throws interrupted.
class progress_display {
  public:
    explicit progress_display(progress_style style) noexcept : style_{style} {}
    progress_display(progress_display const&) = delete;
    progress_display& operator=(progress_display const&) = delete;
    ~progress_display();

    void operator()(shiplap::progress_event const& event);
    [[nodiscard]] bool wants_totals() const noexcept {
        return style_ == progress_style::tty || style_ == progress_style::json;
    }

    using clock = std::chrono::steady_clock;
    struct activity {
        std::string verb, subject;
        std::uint64_t done = 0;
        std::optional<std::uint64_t> total;
        clock::time_point started, told; ///< told: when a line about it was printed last
        bool finished = false;
        bool waiting = false; ///< for the registry to commit what it has
    };

  private:
    void show_json(shiplap::progress_event const& event, clock::time_point now);
    void show_plain(activity& one, clock::time_point now) const;
    void redraw(clock::time_point now, bool force);
    void erase_bars();

    progress_style style_;
    std::mutex mutex_;
    std::map<std::uint64_t, activity> activities_; // unfinished ones
    clock::time_point drawn_at_{};
    std::size_t lines_drawn_ = 0;
};

/// "1.5 MiB".
std::string human_size(std::uint64_t bytes);

} // namespace shiplap_command
