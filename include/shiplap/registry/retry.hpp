#pragma once
// retrying<T>: a transport that sends again what may succeed then.
//
// Again after no answer, and after 408, 425, 429, 499, 500, 502, 503, 504, 520 to 524, and a 403 that speaks of a rate
// limit. Waits as long as Retry-After says, else a random part of a pause that doubles ("full jitter", so that many
// clients do not come back all at once). What one request was told to wait, all requests to that host wait. Gives up
// after a time without progress, or at once when the wait would be longer than that.
//
//   concept       expression        meaning
//   pause_clock   c.now()           a time point of a steady clock
//                 c.sleep(length)   may throw, to end the waiting
//
// The pieces of an upload are not repeatable: they are sent once, and retry_session tells their sender when to go on.

#include <shiplap/registry/concept.hpp>
#include <shiplap/registry/refusal.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <concepts>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <variant>

namespace shiplap {

struct retry_policy {
    std::chrono::milliseconds budget{std::chrono::minutes{2}}; ///< time without progress; 0: never again
    std::chrono::milliseconds first_pause{500};                ///< at most, before the second attempt
    std::chrono::milliseconds longest_pause{std::chrono::seconds{20}};
    /// A name without address and a port that nobody listens on are more often wrong than out of order.
    unsigned connect_attempts = 3;
};

template <class C>
concept pause_clock = requires(C& clock, std::chrono::milliseconds length) {
    { clock.now() } -> std::same_as<std::chrono::steady_clock::time_point>;
    clock.sleep(length);
};

/// The real time.
struct steady_pauses {
    std::function<void()> heartbeat{}; ///< called five times a second while it sleeps; may throw
    /// Told of each failure that is not the last, and of the pause that follows; on any thread.
    std::function<void(remote_error const&, std::chrono::milliseconds)> notice{};

    [[nodiscard]] static std::chrono::steady_clock::time_point now() {
        return std::chrono::steady_clock::now();
    }
    void sleep(std::chrono::milliseconds length) const {
        auto const end = now() + length;
        for (auto left = length; left.count() > 0;
             left = std::chrono::duration_cast<std::chrono::milliseconds>(end - now())) {
            if (heartbeat) heartbeat();
            std::this_thread::sleep_for(std::min(left, std::chrono::milliseconds{200}));
        }
    }
};
static_assert(pause_clock<steady_pauses>);

namespace detail {

/// What all requests of a retrying<T> share: until when each host wants to be left alone.
class host_pauses {
  public:
    using time_point = std::chrono::steady_clock::time_point;

    [[nodiscard]] time_point until(origin const& host) const {
        std::lock_guard const lock{mutex_};
        auto const found = until_.find(host);
        return found == until_.end() ? time_point::min() : found->second;
    }
    void extend(origin const& host, time_point until) {
        std::lock_guard const lock{mutex_};
        auto& there = until_.try_emplace(host, time_point::min()).first->second;
        there = std::max(there, until);
    }
    /// Evenly spread over [0, most].
    [[nodiscard]] std::chrono::milliseconds random_part(std::chrono::milliseconds most) {
        std::lock_guard const lock{mutex_};
        return std::chrono::milliseconds{std::uniform_int_distribution<long>{0, most.count()}(random_)};
    }

  private:
    mutable std::mutex mutex_;
    std::map<origin, time_point> until_;
    std::minstd_rand random_{std::random_device{}()};
};

inline std::string in_words(std::chrono::milliseconds length) {
    auto const tenths = (length.count() + 50) / 100;
    return std::to_string(tenths / 10) + (tenths % 10 != 0 ? "." + std::to_string(tenths % 10) : "") + " s";
}

} // namespace detail

/// The attempts at one thing, as one thread makes them.
template <pause_clock Clock>
class retry_session {
  public:
    retry_session(retry_policy const& policy, detail::host_pauses& pauses, origin host, Clock& clock)
        : policy_{policy}, pauses_{pauses}, host_{std::move(host)}, clock_{clock}, started_{clock.now()} {}

    /// Call before each attempt: waits while the host wants no requests.
    void wait_for_host() {
        using std::chrono::milliseconds;
        auto until = pauses_.until(host_);
        for (auto now = clock_.now(); now < until; now = clock_.now()) {
            // A little more than asked for, so that not all come back in the same moment.
            auto const more = pauses_.random_part(milliseconds{250});
            clock_.sleep(std::chrono::ceil<milliseconds>(until - now) + more);
            until = pauses_.until(host_);
        }
    }

    /// Something got through: the time without progress starts anew.
    void progressed() {
        failing_since_.reset();
        in_a_row_ = 0;
        unreachable_ = 0;
    }

    /// Call after each failed attempt: waits, and returns if another is due. Else throws the failure, with what all
    /// attempts took.
    void failed(registry_error const& failure) {
        unreachable_ = 0;
        retry_or_throw(failure, failure.facts());
    }
    void failed(transport_error const& failure) {
        bool const unreachable =
            failure.kind() == transport_failure::resolve || failure.kind() == transport_failure::connect;
        unreachable_ = unreachable ? unreachable_ + 1 : 0;
        retry_or_throw(failure, failure.facts());
    }

    /// Makes everybody wait as a refusal asks for, without another attempt of this session.
    void heed(failure_facts const& facts) {
        if (wants_pause(facts) && *facts.retry_after <= policy_.budget)
            pauses_.extend(host_, clock_.now() + *facts.retry_after);
    }

  private:
    void announce(remote_error const& failure, std::chrono::milliseconds pause) {
        if constexpr (requires { clock_.notice(failure, pause); })
            if (clock_.notice) clock_.notice(failure, pause);
    }

    template <class Failure>
    void retry_or_throw(Failure const& failure, failure_facts facts) {
        facts.attempts = ++attempts_;
        auto const now = clock_.now();
        facts.elapsed = std::chrono::duration_cast<std::chrono::milliseconds>(now - started_);
        // An upload may take hours before it fails for the first time: the budget is for what comes then.
        if (!failing_since_) failing_since_ = now;
        auto const left =
            policy_.budget - std::chrono::floor<std::chrono::milliseconds>(now - *failing_since_);
        if (!facts.retryable || left.count() <= 0 || unreachable_ >= policy_.connect_attempts)
            give_up(failure, facts, "");
        if (!wants_pause(facts)) {
            auto const pause = std::min(next_pause(), left);
            announce(failure, pause);
            return clock_.sleep(pause);
        }
        if (*facts.retry_after > left) {
            auto const more = "; it asks to come back in " + detail::in_words(*facts.retry_after);
            give_up(failure, facts, more);
        }
        announce(failure, *facts.retry_after);
        pauses_.extend(host_, now + *facts.retry_after);
        wait_for_host();
    }

    // "At once", said again and again, is no pause to go by.
    static bool wants_pause(failure_facts const& facts) {
        return facts.retry_after && facts.retry_after->count() > 0;
    }

    std::chrono::milliseconds next_pause() {
        auto const doublings = std::min(in_a_row_++, 16U);
        return pauses_.random_part(std::min(policy_.longest_pause, policy_.first_pause * (1L << doublings)));
    }

    [[noreturn]] static void give_up(transport_error const& failure, failure_facts facts,
                                     std::string const& more) {
        auto reason = failure.reason() + more + effort(facts);
        throw transport_error{failure.kind(), failure.operation(), failure.subject(), std::move(reason),
                              std::move(facts)};
    }
    [[noreturn]] static void give_up(registry_error const& failure, failure_facts facts,
                                     std::string const& more) {
        auto reason = failure.reason() + more + effort(facts);
        throw registry_error{failure.operation(), failure.subject(), std::move(reason), std::move(facts)};
    }
    static std::string effort(failure_facts const& facts) {
        if (facts.attempts < 2) return "";
        return "; gave up after " + std::to_string(facts.attempts) + " attempts in " +
               detail::in_words(facts.elapsed);
    }

    retry_policy policy_;
    detail::host_pauses& pauses_;
    origin host_;
    Clock& clock_;
    std::chrono::steady_clock::time_point started_;
    std::optional<std::chrono::steady_clock::time_point> failing_since_{}; // without progress
    unsigned attempts_ = 0, in_a_row_ = 0, unreachable_ = 0;
};

template <transport T, pause_clock Clock = steady_pauses>
class retrying {
  public:
    using session = retry_session<Clock>;

    explicit retrying(T next, retry_policy policy = {}, Clock clock = {})
        : policy_{policy}, shared_{std::make_shared<shared_state>(std::move(next), std::move(clock))} {}

    http_response send(http_request const& request) {
        auto attempts = attempts_at(request.target.from());
        for (;;) {
            attempts.wait_for_host();
            auto outcome = attempt(request, attempts);
            if (auto* const answer = std::get_if<http_response>(&outcome)) return std::move(*answer);
            if (auto const* const refused = std::get_if<registry_error>(&outcome))
                attempts.failed(*refused);
            else
                attempts.failed(std::get<transport_error>(outcome));
        }
    }

    /// For who repeats by other means than sending the same again.
    [[nodiscard]] session attempts_at(origin const& host) {
        return {policy_, shared_->pauses, host, shared_->clock};
    }

  private:
    struct shared_state {
        shared_state(T to, Clock pauses_of) : next{std::move(to)}, clock{std::move(pauses_of)} {}
        T next;
        Clock clock;
        detail::host_pauses pauses;
    };

    // What is no answer for the caller, but a reason to try again or to give up, is returned as an error.
    std::variant<http_response, registry_error, transport_error> attempt(http_request const& request,
                                                                         session& attempts) {
        try {
            auto answer = shared_->next.send(request);
            if (!may_be_transient(answer.status)) return answer;
            // What it says decides, and must still be there for who asked.
            auto text = detail::read_error_text(answer);
            answer.body = any_byte_source{text_source{text}};
            if (!detail::is_transient(answer.status, answer.headers, text)) return answer;
            auto failure = refusal(request.method, request.target.shown(), request.access,
                                   request.target.from(), answer);
            if (request.repeatable) return failure;
            attempts.heed(failure.facts());
            answer.body = any_byte_source{text_source{std::move(text)}};
            return answer;
        } catch (
            registry_error const& failure) { // of who logs in for us: its service may be out of order, too
            if (!request.repeatable) throw;
            return failure;
        } catch (transport_error const& failure) {
            if (!request.repeatable) throw;
            return failure;
        }
    }

    static bool may_be_transient(int status) { return status == 403 || status == 408 || status >= 425; }

    retry_policy policy_;
    std::shared_ptr<shared_state> shared_;
};

} // namespace shiplap
