#pragma once
// upload_session: where an upload goes on, and how far it got, as the registry says.

#include <shiplap/registry/error.hpp>
#include <shiplap/registry/http.hpp>
#include <shiplap/registry/location.hpp>
#include <shiplap/registry/url.hpp>

#include <charconv>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace shiplap {

/// A place that takes one blob. Each answer of the registry may give it another location, and only the latest counts.
struct upload_session {
    url location;
    /// Pieces, but for the last one, must be this long at least (OCI-Chunk-Min-Length).
    std::uint64_t min_chunk = 0;
};

/// How far an upload got, as the registry sees it.
struct upload_progress {
    upload_session session;
    std::optional<std::uint64_t> received; ///< bytes from the start on; none: it does not say
};

namespace detail {

/// Digits, and nothing else.
inline std::optional<std::uint64_t> parse_number(std::string_view text) {
    std::uint64_t value = 0;
    auto const [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (text.empty() || problem != std::errc{} || end != text.data() + text.size()) return std::nullopt;
    return value;
}

// The latest Location counts, verbatim; an answer without one leaves it as it was.
inline upload_session next_session(url const& asked, http_response const& answer, upload_session next) {
    if (auto to = location_of(asked, answer)) next.location = std::move(*to);
    if (auto const least = parse_number(answer.headers.get("OCI-Chunk-Min-Length"))) next.min_chunk = *least;
    return next;
}

} // namespace detail

/// What the answer to a POST at `asked` starts. Throws registry_error without a Location, or as location_of() does.
inline upload_session first_session(url const& asked, http_response const& answer) {
    if (answer.headers.find("Location") == nullptr)
        throw registry_error{"upload",
                             asked.shown(),
                             "the registry starts an upload, but gives no Location for it",
                             {.http_status = answer.status}};
    return detail::next_session(asked, answer, {asked});
}

/// What a later answer says about it. Throws registry_error as location_of() does.
inline upload_progress progress_after(upload_session const& before, http_response const& answer) {
    upload_progress now{detail::next_session(before.location, answer, before), std::nullopt};
    auto const header = answer.headers.get("Range");
    std::string_view range{header};
    if (range.starts_with("bytes=")) range.remove_prefix(6);
    auto const dash = range.find('-');
    if (dash == range.npos || detail::parse_number(range.substr(0, dash)) != 0) return now;
    auto const last = detail::parse_number(range.substr(dash + 1));
    if (last && *last != std::numeric_limits<std::uint64_t>::max())
        now.received = *last == 0 ? 0 : *last + 1; // "0-0" is what nothing looks like
    return now;
}

} // namespace shiplap
