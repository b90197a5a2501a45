#include "progress.hpp"

#include <shiplap/error.hpp>

#include "interruption.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <cstdio>
#include <vector>

#include <sys/ioctl.h>
#include <unistd.h>

namespace shiplap_command {

namespace {

using namespace std::chrono_literals;
constexpr auto redraw_interval = 100ms;
constexpr auto plain_interval = 5s;
constexpr std::uint64_t worth_a_line = 64 << 20; // registries hash, and some move, so many bytes for a while

using clock = progress_display::clock;
using activity = progress_display::activity;
using kind = shiplap::progress_event::kind;

template <class... Arguments>
std::string format(char const* pattern, Arguments... arguments) {
    std::array<char, 64> text{};
    std::snprintf(text.data(), text.size(), pattern, arguments...);
    return text.data();
}

std::string duration(double seconds) {
    if (seconds < 60) return format("%.1fs", seconds);
    if (seconds > 100 * 3600) return ">100h";
    auto const whole = static_cast<unsigned>(seconds);
    return whole < 3600 ? format("%um%02us", whole / 60, whole % 60)
                        : format("%uh%02um", whole / 3600, whole / 60 % 60);
}

struct terminal_size {
    std::size_t columns = 80, rows = 24;
};

terminal_size measure_terminal() {
    struct winsize size {};
    if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0) return {};
    return {size.ws_col, size.ws_row};
}

bool continues_utf8(char c) {
    return (static_cast<unsigned char>(c) & 0xc0u) == 0x80u;
}

// What fits into `width`, which counts bytes: wide characters take less columns than bytes. Paths keep their end, which
// tells them apart; digests their start, which people compare.
std::string shortened(std::string const& text, std::size_t width) {
    if (text.size() <= width) return text;
    auto const keep = width > 3 ? width - 3 : 0;
    if (text.starts_with("sha256:") || text.starts_with("sha512:")) return text.substr(0, keep) + "...";
    auto start = text.size() - keep;
    while (start < text.size() && continues_utf8(text[start])) ++start;
    return std::string{"..."}.substr(0, width) + text.substr(start);
}

/// Bytes per second and what follows from it.
struct pace {
    double elapsed, rate;
    pace(activity const& one, clock::time_point now)
        : elapsed{std::chrono::duration<double>(now - one.started).count()},
          rate{elapsed > 0 ? static_cast<double>(one.done) / elapsed : 0} {}

    [[nodiscard]] std::string speed() const { return human_size(static_cast<std::uint64_t>(rate)) + "/s"; }
    [[nodiscard]] std::string eta(activity const& one) const {
        if (!one.total || *one.total <= one.done || rate <= 0 || elapsed < 0.5) return {};
        return "ETA " + duration(static_cast<double>(*one.total - one.done) / rate);
    }
};

// "copied" contents that the destination had already move no bytes.
std::string outcome(activity const& one, clock::time_point now) {
    if (one.done == 0 && (one.total.value_or(0) != 0 || one.verb == "deliver")) return "already there";
    return human_size(one.done) + " in " + duration(pace{one, now}.elapsed);
}

std::string bar(double share) {
    constexpr std::size_t cells = 20;
    auto const filled = static_cast<std::size_t>(share * cells);
    return '[' + std::string(filled, '#') + std::string(cells - filled, '.') + ']';
}

// One line that fits into `width`: where there is little room the facts that say least are left out.
std::string live_line(activity const& one, clock::time_point now, std::size_t width) {
    struct fact {
        std::string text;
        int worth;
    };
    pace const pace{one, now};
    std::vector<fact> facts;
    if (one.total && *one.total > 0) {
        auto const share = std::min(1.0, static_cast<double>(one.done) / static_cast<double>(*one.total));
        facts.push_back({bar(share), 1});
        facts.push_back({format("%3.0f%%", share * 100), 5});
    }
    facts.push_back({human_size(one.done), 4});
    if (one.waiting)
        facts.push_back({"waiting for the registry to commit", 3});
    else if (one.done != 0)
        facts.push_back({pace.speed(), 2});
    if (auto eta = pace.eta(one); !eta.empty()) facts.push_back({std::move(eta), 3});

    auto const length = [&] {
        std::size_t sum = 0;
        for (auto const& fact : facts) sum += fact.text.size() + 1;
        return sum;
    };
    auto const head = one.verb.size() + 1;
    auto const wanted = head + std::min<std::size_t>(one.subject.size(), 16);
    while (!facts.empty() && wanted + length() > width)
        facts.erase(std::min_element(facts.begin(), facts.end(),
                                     [](fact const& a, fact const& b) { return a.worth < b.worth; }));
    auto line = one.verb + " " + shortened(one.subject, width - std::min(width, head + length()));
    for (auto const& fact : facts) line += " " + fact.text;
    return shortened(line, width);
}

std::string finished_line(activity const& one, clock::time_point now, std::size_t width) {
    auto const facts = ": " + outcome(one, now);
    auto const head = one.verb.size() + 1;
    return one.verb + " " + shortened(one.subject, width - std::min(width, head + facts.size())) + facts;
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
    return unit == 0 ? std::to_string(bytes) + " B" : format("%.1f %s", value, units[unit]);
}

progress_style parse_progress_style(std::string const& name) {
    if (name == "auto") return ::isatty(STDERR_FILENO) != 0 ? progress_style::tty : progress_style::plain;
    if (name == "tty") return progress_style::tty;
    if (name == "plain") return progress_style::plain;
    if (name == "json") return progress_style::json;
    if (name == "none") return progress_style::none;
    throw shiplap::option_error{"--progress", "unknown style '" + shiplap::printable(name) +
                                                  "'; use auto, tty, plain, json or none"};
}

// What is unfinished stays on the screen as it was when it failed; the error comes below.
progress_display::~progress_display() {
    redraw(clock::now(), true);
}

void progress_display::operator()(shiplap::progress_event const& event) {
    check_interrupted();
    if (event.what == kind::publishing) return;
    std::lock_guard const lock{mutex_};
    auto const now = clock::now();
    if (event.what == kind::warning && style_ != progress_style::json) {
        erase_bars();
        print("warning: " + shiplap::printable(event.text) + "\n");
        return redraw(now, true);
    }
    if (style_ == progress_style::none) return;
    if (event.what == kind::warning) return show_json(event, now);

    auto& one = activities_[event.id];
    if (event.what == kind::started)
        one = {std::string{event.activity},
               shiplap::printable(event.subject),
               0,
               event.total,
               now,
               now,
               false,
               false};
    one.done = event.done;
    one.finished = event.what == kind::finished;
    one.waiting = event.what == kind::waiting;
    if (style_ == progress_style::tty) return redraw(now, event.what != kind::advanced);
    if (style_ == progress_style::json) show_json(event, now);
    if (style_ == progress_style::plain) show_plain(one, now);
    if (one.finished) activities_.erase(event.id);
}

void progress_display::show_json(shiplap::progress_event const& event, clock::time_point now) {
    constexpr std::array<char const*, 5> kinds{"started", "advanced", "waiting", "finished", "warning"};
    if (event.what == kind::advanced) {
        auto& told = activities_[event.id].told;
        if (now - told < redraw_interval) return;
        told = now;
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

void progress_display::show_plain(activity& one, clock::time_point now) const {
    auto const head = one.verb + " " + one.subject + ": ";
    if (one.finished) return print(head + outcome(one, now) + "\n");
    if (one.waiting && one.done >= worth_a_line)
        return print(head + human_size(one.done) + " sent, waiting for the registry to commit\n");
    if (one.waiting || now - one.told < plain_interval) return;
    one.told = now;
    pace const pace{one, now};
    auto const eta = pace.eta(one);
    print(head + human_size(one.done) + (one.total ? " of " + human_size(*one.total) : "") + ", " +
          pace.speed() + (eta.empty() ? "" : ", " + eta) + "\n");
}

void progress_display::erase_bars() {
    if (lines_drawn_ == 0) return;
    print("\x1b[" + std::to_string(lines_drawn_) + "A\x1b[J");
    lines_drawn_ = 0;
}

// Finished activities scroll away above the live ones, which are drawn again in place.
void progress_display::redraw(clock::time_point now, bool force) {
    if (style_ != progress_style::tty || (!force && now - drawn_at_ < redraw_interval)) return;
    drawn_at_ = now;
    erase_bars();
    auto const size = measure_terminal();
    auto const width = std::max<std::size_t>(size.columns, 2) - 1; // the last column may wrap
    std::string above, bars;
    for (auto it = activities_.begin(); it != activities_.end();) {
        auto const& one = it->second;
        if (one.finished) {
            above += finished_line(one, now, width) + "\n";
            it = activities_.erase(it);
            continue;
        }
        if (lines_drawn_ + 1 < size.rows) { // what has scrolled out cannot be erased
            bars += live_line(one, now, width) + "\n";
            ++lines_drawn_;
        }
        ++it;
    }
    print(above + bars);
}

} // namespace shiplap_command
