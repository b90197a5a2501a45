#pragma once
// Faults: which request shall go wrong, and how. A rule is used up after its `times`; the first that fits wins.

#include <chrono>
#include <cstdint>
#include <functional>
#include <limits>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <support/registry/record.hpp>
#include <support/registry/text.hpp>

namespace registry_test {

inline constexpr unsigned always = std::numeric_limits<unsigned>::max();

/// This answer instead of any work. The body of the request is read and thrown away.
struct answer {
    int status = 500;
    field_list headers{};
    std::string body{};
    bool early = false; ///< answer without reading the body, then close, as proxies do
};

/// The connection ends once that many bytes of the request's body were taken; they count as received.
/// A request whose body is not longer has been received whole, and yet is not acted on.
struct drop_connection {
    std::uint64_t after_body_bytes = 0;
    bool reset = true; ///< RST, otherwise FIN
};

/// All is done and committed, and the connection ends before the answer.
struct lost_reply {
    bool reset = true;
};

/// The answer announces more bytes than come. With `chunked` the last chunk never comes.
struct cut_reply {
    std::size_t missing = 50;
    bool chunked = false;
};

/// The body of the answer comes that slowly, as from a server that has much to do; all of it comes.
struct trickle {
    std::size_t piece = 1;
    std::chrono::milliseconds pause{100};
};

/// Silence until the client gives up or the registry stops. With `reads_body` after the body, otherwise before.
struct stall {
    bool reads_body = false;
};

/// Work as usual, later.
struct delay {
    std::chrono::milliseconds by{0};
};

/// Work as usual, then close the kept-alive connection without having said so.
struct hang_up_after {};

/// Work as usual, after the test has done something: another publisher moves the tag, say.
struct call {
    std::function<void()> first;
};

using fault_action =
    std::variant<answer, drop_connection, lost_reply, cut_reply, trickle, stall, delay, hang_up_after, call>;

struct fault {
    std::optional<request_kind> on{}; ///< any, when not given
    std::string method{};             ///< any, when empty
    std::string target_has{};         ///< part of path and query: a repository, a digest, a tag
    unsigned nth = 1;                 ///< the first that fits is 1
    unsigned times = 1;
    fault_action with{answer{}};
};

class fault_list {
  public:
    void add(fault one) {
        std::scoped_lock const lock{mutex_};
        rules_.push_back({std::move(one)});
    }
    /// `number` is that of request_record.
    void add(std::size_t number, fault_action action) {
        std::scoped_lock const lock{mutex_};
        numbered_.emplace_back(number, std::move(action));
    }
    void clear() {
        std::scoped_lock const lock{mutex_};
        rules_.clear();
        numbered_.clear();
    }
    /// What shall happen to this request. Every rule sees it, so that each counts what fits it.
    std::optional<fault_action> take(request_record const& request) {
        std::scoped_lock const lock{mutex_};
        std::optional<fault_action> action;
        for (auto const& [number, numbered] : numbered_)
            if (number == request.number && !action) action = numbered;
        for (auto& rule : rules_) {
            if (!fits(rule.what, request)) continue;
            ++rule.seen;
            if (action || rule.seen < rule.what.nth || rule.used == rule.what.times) continue;
            if (rule.what.times != always) ++rule.used;
            action = rule.what.with;
        }
        return action;
    }

  private:
    struct counted_fault {
        fault what;
        unsigned seen = 0;
        unsigned used = 0;
    };
    std::mutex mutex_;
    std::vector<counted_fault> rules_;
    std::vector<std::pair<std::size_t, fault_action>> numbered_;

    static bool fits(fault const& what, request_record const& request) {
        return (!what.on || *what.on == request.kind) &&
               (what.method.empty() || what.method == request.method) &&
               request.target.find(what.target_has) != std::string::npos;
    }
};

} // namespace registry_test
