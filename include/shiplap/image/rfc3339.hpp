#pragma once
// Times in documents: RFC 3339, as Go reads and writes them. "2019-01-01T00:00:00.5Z": whole seconds and a
// fraction without zeros at its end; "Z" for UTC, otherwise the offset that the time came with.

#include <shiplap/error.hpp>
#include <shiplap/tar/entry.hpp>

#include <chrono>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace shiplap {

/// A point in time and the clock on which it was read. The offset changes only how it is written.
struct zoned_time {
    timestamp at{};
    std::int32_t offset = 0; ///< minutes east of UTC, -1439..1439
    friend bool operator==(zoned_time const&, zoned_time const&) = default;
};

namespace detail {

/// Exactly `count` digits at the front of `text`, which are removed; none if there are fewer.
constexpr std::optional<unsigned> take_digits(std::string_view& text, std::size_t count) noexcept {
    if (text.size() < count) return std::nullopt;
    unsigned value = 0;
    for (char const c : text.substr(0, count)) {
        if (c < '0' || '9' < c) return std::nullopt;
        value = 10 * value + static_cast<unsigned>(c - '0');
    }
    text.remove_prefix(count);
    return value;
}

constexpr bool take_char(std::string_view& text, char expected) noexcept {
    if (!text.starts_with(expected)) return false;
    text.remove_prefix(1);
    return true;
}

inline std::string two_digits(unsigned value) {
    return {static_cast<char>('0' + value / 10 % 10), static_cast<char>('0' + value % 10)};
}

} // namespace detail

/// Reads a time of the years 0001 to 9999; digits after the ninth of a fraction are dropped. None if `text`
/// is anything else: another separator than 'T', lower case, a second 60, a day that the month does not have.
inline std::optional<zoned_time> parse_rfc3339(std::string_view text) {
    using detail::take_char;
    using detail::take_digits;
    auto const year = take_digits(text, 4);
    if (!year || *year == 0 || !take_char(text, '-')) return std::nullopt;
    auto const month = take_digits(text, 2);
    if (!month || !take_char(text, '-')) return std::nullopt;
    auto const day = take_digits(text, 2);
    if (!day || !take_char(text, 'T')) return std::nullopt;
    auto const hour = take_digits(text, 2);
    if (!hour || *hour > 23 || !take_char(text, ':')) return std::nullopt;
    auto const minute = take_digits(text, 2);
    if (!minute || *minute > 59 || !take_char(text, ':')) return std::nullopt;
    auto const second = take_digits(text, 2);
    if (!second || *second > 59) return std::nullopt;

    std::int32_t nanoseconds = 0;
    if (take_char(text, '.')) {
        std::int32_t unit = 100'000'000;
        if (text.empty() || text[0] < '0' || '9' < text[0]) return std::nullopt;
        while (auto const digit = take_digits(text, 1)) {
            nanoseconds += static_cast<std::int32_t>(*digit) * unit;
            unit /= 10;
        }
    }

    std::int32_t offset = 0;
    if (!take_char(text, 'Z')) {
        bool const west = text.starts_with('-');
        if (!take_char(text, west ? '-' : '+')) return std::nullopt;
        auto const hours = take_digits(text, 2);
        if (!hours || *hours > 23 || !take_char(text, ':')) return std::nullopt;
        auto const minutes = take_digits(text, 2);
        if (!minutes || *minutes > 59) return std::nullopt;
        offset = static_cast<std::int32_t>(*hours * 60 + *minutes) * (west ? -1 : 1);
    }
    if (!text.empty()) return std::nullopt;

    std::chrono::year_month_day const date{std::chrono::year{static_cast<int>(*year)},
                                           std::chrono::month{*month}, std::chrono::day{*day}};
    if (!date.ok()) return std::nullopt;
    std::int64_t const days = std::chrono::sys_days{date}.time_since_epoch().count();
    std::int64_t const seconds = days * 86400 + *hour * 3600 + *minute * 60 + *second - offset * 60;
    return zoned_time{{seconds, nanoseconds}, offset};
}

/// The first and the last second, in UTC, that can be written: of the years 0001 and 9999.
inline constexpr timestamp first_rfc3339{-62135596800, 0}, last_rfc3339{253402300799, 0};

/// Writes a time on its own clock. Throws error{unsupported} outside the years 0001 to 9999.
inline std::string format_rfc3339(zoned_time time) {
    constexpr auto first = first_rfc3339.seconds, last = last_rfc3339.seconds;
    auto const fail = [&] {
        return error{error_code::unsupported, "write time", std::to_string(time.at.seconds),
                     "seconds since 1970 that lie outside the years 0001 to 9999"};
    };
    if (time.at.seconds < first - 86400 || last + 86400 < time.at.seconds)
        throw fail(); // lest a sum overflow
    std::int64_t const local = time.at.seconds + time.offset * 60;
    if (local < first || last < local) throw fail();

    std::int64_t const days = (local >= 0 ? local : local - 86399) / 86400;
    auto const in_day = static_cast<unsigned>(local - days * 86400);
    std::chrono::year_month_day const date{
        std::chrono::sys_days{std::chrono::days{static_cast<std::chrono::days::rep>(days)}}};
    auto const year = static_cast<unsigned>(static_cast<int>(date.year()));

    using detail::two_digits;
    auto out = two_digits(year / 100) + two_digits(year) + "-" +
               two_digits(static_cast<unsigned>(date.month())) + "-" +
               two_digits(static_cast<unsigned>(date.day())) + "T" + two_digits(in_day / 3600) + ":" +
               two_digits(in_day / 60 % 60) + ":" + two_digits(in_day % 60);
    if (time.at.nanoseconds != 0) {
        auto fraction = std::to_string(1'000'000'000 + time.at.nanoseconds);
        fraction.erase(fraction.find_last_not_of('0') + 1);
        out += "." + fraction.substr(1);
    }
    if (time.offset == 0) return out + "Z";
    auto const minutes = static_cast<unsigned>(time.offset < 0 ? -time.offset : time.offset);
    return out + (time.offset < 0 ? "-" : "+") + two_digits(minutes / 60) + ":" + two_digits(minutes % 60);
}

/// Writes a time in UTC.
inline std::string format_rfc3339(timestamp time) {
    return format_rfc3339(zoned_time{time, 0});
}

} // namespace shiplap
