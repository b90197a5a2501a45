#pragma once
// Reading blobs: HEAD, GET with ranges, redirects to another origin, and all that can be wrong with what comes.

#include <algorithm>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <support/registry/core.hpp>

namespace registry_test {

/// "bytes=5-9", "bytes=5-", "bytes=-5": first byte and length within `size`. Length 0 cannot be satisfied.
inline std::optional<std::pair<std::uint64_t, std::uint64_t>> parse_byte_range(std::string_view text,
                                                                               std::uint64_t size) {
    if (!text.starts_with("bytes=")) return std::nullopt;
    text.remove_prefix(6);
    auto const dash = text.find('-');
    if (dash == std::string_view::npos || text.find(',') != std::string_view::npos) return std::nullopt;
    auto const first = parse_number(text.substr(0, dash));
    auto const last = parse_number(text.substr(dash + 1));
    if (!first && !last) return std::nullopt;
    if (!first) return std::pair{size - std::min(*last, size), std::min(*last, size)};
    if (*first >= size) return std::pair{std::uint64_t{0}, std::uint64_t{0}};
    auto const end = std::min(last.value_or(size - 1), size - 1);
    if (end < *first) return std::nullopt;
    return std::pair{*first, end - *first + 1};
}

inline reply head_blob(core& c, exchange& x) {
    std::scoped_lock const lock{c.mutex};
    if (c.how.head_blob_status != 0)
        return error_reply(c.how, c.how.head_blob_status, "UNSUPPORTED", "HEAD is not supported");
    auto const& [name, digest] = std::pair{x.record.repository, x.record.reference};
    auto const* const found = c.held.find_blob(name, digest);
    if (found == nullptr) {
        auto result = blob_unknown(c.how, digest);
        result.delivered = [&c, name = name, digest = digest] { c.check.forget(name, digest); };
        return result;
    }
    reply result{.headers = {{"Content-Type", "application/octet-stream"}}, .announced = found->size};
    result.without_length = c.how.head_without_length;
    if (!c.how.ignores_range) result.headers.emplace_back("Accept-Ranges", "bytes");
    add_digest_header(c.how, result, digest, found->content ? std::string_view{*found->content} : "");
    result.delivered = [&c, name = name, digest = digest] { c.check.confirm(name, digest); };
    return result;
}

inline reply get_blob(core& c, exchange& x) {
    std::scoped_lock const lock{c.mutex};
    auto const& digest = x.record.reference;
    auto const* const found = c.held.find_blob(x.record.repository, digest);
    if (found == nullptr) return blob_unknown(c.how, digest);
    if (!found->content)
        return error_reply(c.how, 500, "UNKNOWN", "only hash and size of this blob were kept");
    if (c.how.redirect_blobs && !x.record.other_port)
        return {.status = 307,
                .headers = {
                    {"Location", "http://" + c.other_port.authority() + x.record.target + "?signature=x"}}};

    reply result{.headers = {{"Content-Type", "application/octet-stream"}}, .stored = found->content};
    if (c.how.corrupted_blobs && found->size > 0) {
        auto wrong = *found->content;
        wrong.back() = static_cast<char>(wrong.back() ^ 1);
        result.stored = std::make_shared<std::string const>(std::move(wrong));
    }
    result.size = result.stored->size();
    auto const range = parse_byte_range(x.record.header("Range"), found->size);
    if (range && !c.how.ignores_range) {
        if (range->second == 0) {
            auto refusal = error_reply(c.how, 416, "UNKNOWN", "range not satisfiable");
            refusal.headers.emplace_back("Content-Range", "bytes */" + std::to_string(found->size));
            return refusal;
        }
        result.status = 206;
        result.from = static_cast<std::size_t>(range->first);
        result.size = static_cast<std::size_t>(range->second);
        result.headers.emplace_back("Content-Range", "bytes " + std::to_string(range->first) + "-" +
                                                         std::to_string(range->first + range->second - 1) +
                                                         "/" + std::to_string(found->size));
    }
    if (!c.how.ignores_range) result.headers.emplace_back("Accept-Ranges", "bytes");
    add_digest_header(c.how, result, digest, *found->content);
    if (c.how.truncated_blobs) {
        result.announced = result.size;
        result.size /= 2;
        result.cut = true;
    }
    result.delivered = [&c, name = x.record.repository, digest] { c.check.confirm(name, digest); };
    return result;
}

inline reply delete_blob(core& c, exchange& x) {
    std::scoped_lock const lock{c.mutex};
    auto const found = c.held.repositories.find(x.record.repository);
    if (found == c.held.repositories.end() || found->second.blobs.erase(x.record.reference) == 0)
        return blob_unknown(c.how, x.record.reference);
    c.check.forget(x.record.repository, x.record.reference);
    return {.status = 202};
}

} // namespace registry_test
