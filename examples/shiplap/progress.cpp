#include "progress.hpp"

#include <shiplap/error.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <iterator>
#include <vector>

#include <sys/ioctl.h>
#include <unistd.h>

namespace shiplap_command {

std::atomic<int> interrupted_by{0};

namespace {

using namespace std::chrono_literals;
constexpr auto redraw_interval = 100ms;

double seconds_between(std::chrono::steady_clock::time_point from, std::chrono::steady_clock::time_point to) {
    return std::chrono::duration<double>(to - from).count();
}

template <class... Arguments>
std::string format(char const* pattern, Arguments... arguments) {
    std::array<char, 256> text{};
    std::snprintf(text.data(), text.size(), pattern, arguments...);
    return text.data();
}

std::string duration(double seconds) {
    if (seconds < 60) return format("%.1fs", seconds);
    auto const whole = static_cast<unsigned long>(seconds);
    return whole < 3600 ? format("%lum%02lus", whole / 60, whole % 60) : format("%luh%02lum", whole / 3600, whole / 60 % 60);
}

std::size_t terminal_width() {
    struct winsize size {};
    if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20) return size.ws_col;
    return 80;
}

// Keeps the end, which tells paths and digests apart better than the start.
std::string shortened(std::string text, std::size_t width) {
    if (text.size() <= width) return text;
    auto start = text.size() - width + 3;
    while (start < text.size() && (static_cast<unsigned char>(text[start]) & 0xc0u) == 0x80u) ++start; // not inside UTF-8
    return "..." + text.substr(start);
}

void print(std::string const& text) {
    std::fwrite(text.data(), 1, text.size(), stderr);
    std::fflush(stderr);
}

} // namespace

std::string human_size(std::uint64_t bytes) {
    constexpr std::array<char const*, 5> units{"B", "KiB", "MiB", "GiB", "TiB"};
    auto value = static_cast<double>(bytes);
    std::size_t unit = 0;
    for (; value >= 1024 && unit + 1 < units.size(); ++unit) value /= 1024;
    return unit == 0 ? format("%llu B", static_cast<unsigned long long>(bytes)) : format("%.1f %s", value, units[unit]);
}

progress_style parse_progress_style(std::string const& name) {
    if (name == "auto") return ::isatty(STDERR_FILENO) != 0 ? progress_style::tty : progress_style::plain;
    if (name == "tty") return progress_style::tty;
    if (name == "plain") return progress_style::plain;
    if (name == "json") return progress_style::json;
    if (name == "none") return progress_style::none;
    throw shiplap::option_error{"--progress", "unknown style '" + shiplap::printable(name) + "'; use auto, tty, plain, json or none"};
}

progress_display::~progress_display() {
    if (style_ == progress_style::tty) redraw(clock::now(), true);
}

void progress_display::operator()(shiplap::progress_event const& event) {
    if (auto const signal = interrupted_by.load(); signal != 0) throw interrupted{signal};
    if (style_ == progress_style::none && event.what != shiplap::progress_event::kind::warning) return;
    std::lock_guard lock{mutex_};
    auto const now = clock::now();
    if (style_ == progress_style::json) return show_json(event, now);

    using kind = shiplap::progress_event::kind;
    if (event.what == kind::warning) {
        erase_bars();
        print("warning: " + shiplap::printable(event.text) + "\n");
        return redraw(now, true);
    }
    auto& one = activities_[event.id];
    if (event.what == kind::started) one = {std::string{event.activity}, shiplap::printable(event.subject), 0, event.total, now};
    one.done = event.done;
    one.finished = event.what == kind::finished;
    if (style_ == progress_style::plain) {
        show_plain(event, one, now);
        if (one.finished) activities_.erase(event.id);
    } else {
        redraw(now, event.what != kind::advanced);
    }
}

void progress_display::show_json(shiplap::progress_event const& event, clock::time_point now) {
    using kind = shiplap::progress_event::kind;
    constexpr std::array<char const*, 4> kinds{"started", "advanced", "finished", "warning"};
    if (event.what == kind::advanced) {
        auto& last = told_[event.id];
        if (now - last < redraw_interval) return;
        last = now;
    }
    nlohmann::ordered_json line{{"event", kinds[static_cast<std::size_t>(event.what)]}};
    if (event.what == kind::warning) {
        line["text"] = shiplap::printable(event.text);
    } else {
        line["id"] = event.id;
        line["activity"] = event.activity;
        line["subject"] = shiplap::printable(event.subject);
        line["bytes"] = event.done;
        if (event.total) line["total"] = *event.total;
    }
    print(line.dump() + "\n");
}

void progress_display::show_plain(shiplap::progress_event const& event, activity const& one, clock::time_point now) const {
    using kind = shiplap::progress_event::kind;
    if (event.what == kind::started) print(one.verb + " " + one.subject + "\n");
    if (event.what == kind::finished)
        print(one.verb + " " + one.subject + ": " + human_size(one.done) + " in " + duration(seconds_between(one.started, now)) + "\n");
}

void progress_display::erase_bars() {
    if (lines_drawn_ == 0) return;
    print("\x1b[" + std::to_string(lines_drawn_) + "A\x1b[J");
    lines_drawn_ = 0;
}

// One line for each activity. Finished ones scroll away above the live ones, which are drawn again in place.
void progress_display::redraw(clock::time_point now, bool force) {
    if (style_ != progress_style::tty || (!force && now - drawn_at_ < redraw_interval)) return;
    drawn_at_ = now;
    erase_bars();
    auto const width = terminal_width();
    std::string above, bars;
    std::size_t live = 0;
    for (auto it = activities_.begin(); it != activities_.end();) {
        auto const& one = it->second;
        auto const elapsed = seconds_between(one.started, now);
        auto const rate = elapsed > 0 ? static_cast<double>(one.done) / elapsed : 0.0;
        std::string facts = " " + human_size(one.done);
        if (one.finished) {
            facts += " in " + duration(elapsed);
        } else {
            facts += " " + human_size(static_cast<std::uint64_t>(rate)) + "/s";
            if (one.total && *one.total > 0) {
                auto const share = std::min(1.0, static_cast<double>(one.done) / static_cast<double>(*one.total));
                auto const filled = static_cast<std::size_t>(share * 20);
                facts = " [" + std::string(filled, '#') + std::string(20 - filled, '.') + "]" + format(" %3.0f%%", share * 100) + facts;
                if (rate > 0 && *one.total > one.done)
                    facts += " ETA " + duration(static_cast<double>(*one.total - one.done) / rate);
            }
        }
        auto const room = width > facts.size() + one.verb.size() + 8 ? width - facts.size() - one.verb.size() - 2 : 8;
        (one.finished ? above : bars) += one.verb + " " + shortened(one.subject, room) + facts + "\n";
        if (one.finished) {
            it = activities_.erase(it);
        } else {
            ++live;
            ++it;
        }
    }
    lines_drawn_ = live;
    print(above + bars);
}

} // namespace shiplap_command
