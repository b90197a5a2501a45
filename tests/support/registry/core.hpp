#pragma once
// What all parts of the registry share: settings, contents, records and checks behind one mutex, and an exchange,
// which is one request being served.

#include <nlohmann/json.hpp>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <support/registry/checker.hpp>
#include <support/registry/contents.hpp>
#include <support/registry/faults.hpp>
#include <support/registry/http.hpp>
#include <support/registry/quirks.hpp>
#include <support/registry/record.hpp>
#include <support/registry/socket.hpp>

namespace registry_test {

/// What a token allows: per repository its actions.
struct token_grant {
    std::map<std::string, std::set<std::string>> actions{};
    std::chrono::steady_clock::time_point until{};
};

struct core {
    explicit core(quirks chosen, checks rules) : how{std::move(chosen)} { check.rules = rules; }

    listener main_port{};
    listener other_port{};
    fault_list faults{};

    std::mutex mutex{}; ///< guards all below
    std::condition_variable changed{};
    bool stopping = false;
    quirks how;
    contents held{};
    checker check{};
    std::map<std::string, token_grant> tokens{};
    std::set<std::string> seen_tokens{}; ///< also those that were revoked or ran out
    std::vector<std::shared_ptr<request_record>> records{};
    std::size_t connections = 0;
    std::size_t being_served = 0; ///< requests
    std::uint64_t last_id = 0;

    /// A name that was not given out before. With the mutex held.
    std::string new_id(std::string const& prefix) { return prefix + std::to_string(++last_id); }

    /// Text of a test, which cannot know the ports beforehand: {authority} and {other} stand for them.
    [[nodiscard]] std::string placed(std::string text) const {
        auto const put = [&](std::string const& name, std::string const& value) {
            for (auto at = text.find(name); at != std::string::npos; at = text.find(name, at + value.size()))
                text.replace(at, name.size(), value);
        };
        put("{authority}", main_port.authority());
        put("{other}", other_port.authority());
        return text;
    }
    /// Sleeps, but not beyond the end of the registry.
    void pause(std::chrono::nanoseconds time) {
        if (time.count() <= 0) return;
        std::unique_lock lock{mutex};
        changed.wait_for(lock, time, [&] { return stopping; });
    }
};

struct exchange {
    connection& peer;
    request_head& head;
    body_reader& body;
    request_record& record; ///< written by this exchange alone, with the mutex held

    [[nodiscard]] std::string query(std::string_view name) const { return query_value(record.query, name); }
};

/// The body of an error, in the form that the switches want.
inline reply error_reply(quirks const& how, int status, std::string const& code, std::string const& message,
                         nlohmann::json detail = nullptr) {
    nlohmann::json error{{"code", code}, {"message", message}};
    if (!detail.is_null()) error["detail"] = std::move(detail);
    if (how.errors == error_form::escapes) error["message"] = "\x1b]0;owned\x07\x1b[31m" + message;
    auto document = nlohmann::json::object();
    document["errors"].push_back(std::move(error));
    reply result{.status = status, .headers = {{"Content-Type", "application/json"}}};
    switch (how.errors) {
    case error_form::json:
        result.body = document.dump();
        break;
    case error_form::html:
        result.headers = {{"Content-Type", "text/html"}};
        result.body =
            "<html><head><title>" + std::to_string(status) + "</title></head><body>nginx</body></html>";
        break;
    case error_form::empty:
        result.headers.clear();
        break;
    case error_form::huge:
        result.body = document.dump() + std::string(std::size_t{8} << 20U, ' ');
        break;
    case error_form::escapes:
        result.body =
            document.dump() + "\x1b[2J"; // raw as well, for clients that print what they cannot parse
        break;
    }
    return result;
}

inline reply blob_unknown(quirks const& how, std::string const& digest) {
    return error_reply(how, 404, "BLOB_UNKNOWN", "blob unknown to registry", {{"digest", digest}});
}

/// Docker-Content-Digest, as true as the switches have it.
inline void add_digest_header(quirks const& how, reply& to, std::string const& digest,
                              std::string_view content) {
    switch (how.digest_headers) {
    case digest_header::right:
        to.headers.emplace_back("Docker-Content-Digest", digest);
        return;
    case digest_header::absent:
        return;
    case digest_header::wrong:
        to.headers.emplace_back("Docker-Content-Digest", digest_of("something else"));
        return;
    case digest_header::other_algorithm:
        to.headers.emplace_back("Docker-Content-Digest",
                                digest_of(content, algorithm_of(digest) == "sha256" ? "sha512" : "sha256"));
        return;
    }
}

} // namespace registry_test
