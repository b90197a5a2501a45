#include <shiplap/registry/retry.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include <support/catch.hpp>
#include <support/registry/text.hpp>

using namespace shiplap;
using namespace std::chrono_literals;
using std::chrono::milliseconds;

namespace {

/// Time that passes only when somebody sleeps.
struct manual_clock {
    struct state {
        std::mutex mutex;
        std::chrono::steady_clock::time_point now{1h};
        std::vector<milliseconds> sleeps;
    };
    std::shared_ptr<state> shared = std::make_shared<state>();

    [[nodiscard]] std::chrono::steady_clock::time_point now() const {
        std::lock_guard const lock{shared->mutex};
        return shared->now;
    }
    void sleep(milliseconds length) {
        std::lock_guard const lock{shared->mutex};
        shared->now += length;
        shared->sleeps.push_back(length);
    }
    [[nodiscard]] milliseconds slept() const {
        std::lock_guard const lock{shared->mutex};
        milliseconds sum{0};
        for (auto const one : shared->sleeps) sum += one;
        return sum;
    }
};
static_assert(pause_clock<manual_clock>);

struct reply {
    int status = 200;
    std::vector<std::pair<std::string, std::string>> headers{};
    std::string body{};
    bool cut = false; ///< the body ends in an error
};
struct lost {
    transport_failure kind = transport_failure::cut;
    bool retryable = true;
};
/// What an authenticated transport throws when its token service refuses.
struct login_refused {
    bool retryable;
};
using step = std::variant<reply, lost, login_refused>;

struct body_text {
    std::string text;
    bool cut;
    std::size_t at = 0;
    std::size_t read(bytes_span into) {
        auto const n = text.copy(reinterpret_cast<char*>(into.data()), into.size(), at);
        at += n;
        if (n == 0 && cut)
            throw transport_error{transport_failure::cut, "GET", "x", "cut", {.retryable = true}};
        return n;
    }
};

/// Answers one step after the other; the last one for ever.
struct script {
    struct state {
        std::mutex mutex;
        std::deque<step> steps;
        std::vector<std::string> asked; // hosts
        milliseconds takes{0};          // by the clock, each attempt
    };
    std::shared_ptr<state> shared = std::make_shared<state>();
    manual_clock clock{};

    script(manual_clock with, std::vector<step> steps) : clock{std::move(with)} {
        shared->steps.assign(steps.begin(), steps.end());
    }

    http_response send(http_request const& request) {
        std::lock_guard const lock{shared->mutex};
        {
            std::lock_guard const time{clock.shared->mutex};
            clock.shared->now += shared->takes;
        }
        shared->asked.push_back(request.target.from().host);
        auto const now = shared->steps.front();
        if (shared->steps.size() > 1) shared->steps.pop_front();
        auto const where = request.target.shown();
        if (auto const* const failure = std::get_if<lost>(&now))
            throw transport_error{
                failure->kind, request.method, where, "lost", {.retryable = failure->retryable}};
        if (auto const* const failure = std::get_if<login_refused>(&now))
            throw registry_error{"authenticate with", where, "no token", {.retryable = failure->retryable}};
        auto const& answer = std::get<reply>(now);
        http_headers headers;
        for (auto const& [name, value] : answer.headers) headers.add(name, value);
        return {answer.status, std::move(headers), any_byte_source{body_text{answer.body, answer.cut}}};
    }
};

http_request request_to(std::string const& host = "r.io", bool repeatable = true) {
    auto const target = url::parse("https://" + host + "/v2/app/manifests/1");
    return {.method = "GET",
            .target = target,
            .access = {.registry = target.from(), .name = host},
            .repeatable = repeatable};
}

/// A transport with its clock and its script.
struct bench {
    manual_clock clock{};
    script next;
    retrying<script, manual_clock> over;

    explicit bench(std::vector<step> steps, retry_policy policy = {})
        : next{clock, std::move(steps)}, over{next, policy, clock} {}

    std::size_t attempts() const { return next.shared->asked.size(); }
};

template <class Failure>
Failure failure_of(bench& on, http_request const& request = request_to()) {
    try {
        (void)on.over.send(request);
    } catch (Failure const& failure) {
        return failure;
    }
    throw std::logic_error{"it succeeded"};
}

reply const slow_down{429, {{"Retry-After", "2"}}, "slow"};

} // namespace

TEST_CASE("what may be another answer the next time is asked for again", "[registry]") {
    for (int const status : {408, 425, 429, 499, 500, 502, 503, 504, 520, 521, 522, 523, 524}) {
        CAPTURE(status);
        bench on{{reply{status}, reply{200}}};
        CHECK(on.over.send(request_to()).status == 200);
        CHECK(on.attempts() == 2);
    }
    for (int const status : {200, 201, 204, 301, 307, 400, 401, 403, 404, 405, 409, 411,
                             412, 413, 415, 416, 422, 431, 451, 501, 505, 507, 525}) {
        CAPTURE(status);
        bench on{{reply{status, {{"X", "y"}}, "words"}}};
        auto answer = on.over.send(request_to());
        CHECK(answer.status == status);
        CHECK(answer.headers.get("x") == "y");
        CHECK(read_text(answer, 100) == "words"); // still there for who asked
        CHECK(on.attempts() == 1);
        CHECK(on.clock.slept() == 0ms);
    }
}

TEST_CASE("403 is tried again only when it speaks of a rate limit", "[registry]") {
    struct {
        reply first;
        std::size_t attempts;
    } const cases[] = {
        {{403, {}, "You have exceeded a secondary rate limit"}, 2},
        {{403, {{"Retry-After", "1"}}, ""}, 2},
        {{403, {{"X-RateLimit-Remaining", "0"}}, ""}, 2},
        {{403, {}, "denied"}, 1},
        {{403, {}, ""}, 1},
        {{403, {}, "de", true}, 1}, // cut
    };
    for (auto const& [first, attempts] : cases) {
        bench on{{first, reply{200}}};
        auto answer = on.over.send(request_to());
        CHECK(on.attempts() == attempts);
        CHECK(answer.status == (attempts == 1 ? 403 : 200));
        if (attempts == 1 && !first.cut) CHECK(read_text(answer, 100) == first.body);
    }
}

TEST_CASE("Retry-After is waited for, and little more", "[registry]") {
    for (int run = 0; run < 200; ++run) {
        bench on{{slow_down, reply{200}}};
        CHECK(on.over.send(request_to()).status == 200);
        CHECK(on.clock.slept() >= 2000ms);
        CHECK(on.clock.slept() <= 2500ms);
    }
    // As a date, whose clock counts whole seconds.
    auto const date = registry_test::http_date(std::chrono::system_clock::now() + 3s);
    bench on{{reply{429, {{"Retry-After", date}}}, reply{200}}};
    CHECK(on.over.send(request_to()).status == 200);
    CHECK(on.clock.slept() >= 2000ms);
    CHECK(on.clock.slept() <= 3500ms);
}

TEST_CASE("who asks for more patience than there is gets none", "[registry]") {
    for (auto const* const wait : {"86400", "121", "9223372036854775807", "99999999999999999999"}) {
        bench on{{reply{429, {{"Retry-After", wait}}}}};
        auto const failure = failure_of<registry_error>(on);
        CAPTURE(failure.what());
        CHECK(on.attempts() == 1);
        CHECK(on.clock.slept() == 0ms);
        CHECK(failure.facts().retryable);
        CHECK(failure.facts().retry_after > 120s);
        CHECK(failure.reason().find("; it asks to come back in ") != std::string::npos);
    }
    bench on{{reply{429, {{"Retry-After", "86400"}}}}};
    CHECK(failure_of<registry_error>(on).facts().retry_after == 86400s);
}

TEST_CASE("what does not end is given up when the budget is spent", "[registry]") {
    struct {
        step answer;
        milliseconds least;
    } const cases[] = {
        {reply{429, {}, "busy doing nothing"}, 114s},
        {reply{429, {{"Retry-After", "0"}}, "busy doing nothing"}, 114s},
        {slow_down, 117s}, // another two seconds would be too many
        {reply{503}, 114s},
        {lost{transport_failure::stall}, 114s},
        {login_refused{true}, 114s},
    };
    for (auto const& [answer, least] : cases) {
        bench on{{answer}};
        auto const failure = failure_of<remote_error>(on);
        CAPTURE(failure.what());
        CHECK(on.clock.slept() >= least);
        CHECK(on.clock.slept() <= 126s);
        CHECK(failure.facts().retryable);
        CHECK(failure.facts().attempts == on.attempts());
        CHECK(failure.facts().elapsed == on.clock.slept());
        CHECK(on.attempts() < 200);
        CHECK(std::string{failure.what()}.find("r.io") != std::string::npos);
        CHECK(failure.reason().find("; gave up after " + std::to_string(on.attempts()) + " attempts in 1") !=
              std::string::npos);
    }
    bench on{{reply{503}, reply{429, {}, "the last words"}}};
    CHECK(failure_of<registry_error>(on).reason().find("429 (the last words)") != std::string::npos);
}

TEST_CASE("a budget of nothing is one attempt", "[registry]") {
    bench on{{reply{503}}, {.budget = 0ms}};
    auto const failure = failure_of<registry_error>(on);
    CHECK(on.attempts() == 1);
    CHECK(failure.facts().retryable);
    CHECK(failure.facts().attempts == 1);
    CHECK(failure.reason().find("gave up") == std::string::npos);
}

TEST_CASE("a budget of any length does not overflow", "[registry]") {
    bench on{{reply{503}, slow_down, reply{200}}, {.budget = milliseconds::max()}};
    CHECK(on.over.send(request_to()).status == 200);
}

TEST_CASE("nine answers 503 are survived; each pause is any part of one that doubles", "[registry]") {
    std::vector<step> steps(9, reply{503});
    steps.emplace_back(reply{200});
    double const most[] = {500, 1000, 2000, 4000, 8000, 16000, 20000, 20000, 20000};
    // Kolmogorov-Smirnov against the even distribution over [0, 1].
    std::vector<double> parts;
    for (int run = 0; run < 1000; ++run) {
        bench on{steps};
        REQUIRE(on.over.send(request_to()).status == 200);
        auto const& sleeps = on.clock.shared->sleeps;
        REQUIRE(sleeps.size() == 9);
        for (std::size_t i = 0; i < sleeps.size(); ++i) {
            auto const part = static_cast<double>(sleeps[i].count()) / most[i];
            REQUIRE(part <= 1);
            parts.push_back(part);
        }
    }
    std::sort(parts.begin(), parts.end());
    double distance = 0;
    auto const n = static_cast<double>(parts.size());
    for (std::size_t i = 0; i < parts.size(); ++i) {
        auto const below = static_cast<double>(i) / n;
        distance = std::max({distance, parts[i] - below, below + 1 / n - parts[i]});
    }
    // Exceeded once in a million times (sqrt(ln(2 / 1e-6) / 2 / 9000)), and a millisecond of 500 for the rounding.
    CHECK(distance < 0.0284 + 0.002);
}

TEST_CASE("nobody there is most likely a wrong name, and is tried three times", "[registry]") {
    for (auto const kind : {transport_failure::connect, transport_failure::resolve}) {
        bench on{{lost{kind}}};
        auto const failure = failure_of<transport_error>(on);
        CHECK(on.attempts() == 3);
        CHECK(failure.kind() == kind);
        CHECK(failure.facts().attempts == 3);
        CHECK(failure.facts().retryable);

        bench twice{{lost{kind}, lost{kind}, reply{200}}};
        CHECK(twice.over.send(request_to()).status == 200);

        // With another failure in between, somebody was there.
        bench mixed{{lost{kind}, lost{kind}, reply{503}, lost{kind}, lost{kind}, reply{200}}};
        CHECK(mixed.over.send(request_to()).status == 200);
    }
}

TEST_CASE("what cannot get better is not tried again", "[registry]") {
    bench certificate{{lost{transport_failure::tls, false}}};
    CHECK(failure_of<transport_error>(certificate).kind() == transport_failure::tls);
    CHECK(certificate.attempts() == 1);

    bench password{{login_refused{false}}};
    CHECK(failure_of<registry_error>(password).reason() == "no token");
    CHECK(password.attempts() == 1);
}

TEST_CASE("a token service that is out of order is asked again", "[registry]") {
    bench on{{login_refused{true}, reply{200}}};
    CHECK(on.over.send(request_to()).status == 200);
    CHECK(on.attempts() == 2);
}

TEST_CASE("what must not be sent twice is sent once", "[registry]") {
    auto const piece = request_to("r.io", false);
    SECTION("the answer is the caller's, and all heed its pause") {
        bench on{{slow_down, reply{200}}};
        auto answer = on.over.send(piece);
        CHECK(answer.status == 429);
        CHECK(read_text(answer, 100) == "slow");
        CHECK(on.attempts() == 1);
        CHECK(on.clock.slept() == 0ms);
        CHECK(on.over.send(piece).status == 200);
        CHECK(on.clock.slept() >= 2000ms);
    }
    SECTION("a pause beyond the budget is nobody's") {
        bench on{{reply{429, {{"Retry-After", "86400"}}}, reply{200}}};
        (void)on.over.send(piece);
        CHECK(on.over.send(piece).status == 200);
        CHECK(on.clock.slept() == 0ms);
    }
    SECTION("failures go through as they are") {
        bench on{{lost{}}};
        CHECK(failure_of<transport_error>(on, piece).facts().attempts == 1);
        bench login{{login_refused{true}}};
        CHECK(failure_of<registry_error>(login, piece).reason() == "no token");
        CHECK(on.attempts() + login.attempts() == 2);
    }
    SECTION("an answer whose words are cut is still that answer") {
        bench on{{reply{503, {{"Retry-After", "3"}}, "wor", true}, reply{200}}};
        CHECK(on.over.send(piece).status == 503);
        CHECK(on.over.send(piece).status == 200);
        CHECK(on.clock.slept() >= 3000ms);
    }
}

TEST_CASE("a pause is for all requests to that host, and for no other", "[registry]") {
    bench on{{reply{429, {{"Retry-After", "30"}}}, reply{200}}};
    (void)on.over.send(request_to("r.io", false));

    CHECK(on.over.send(request_to("other.io")).status == 200);
    CHECK(on.over.send(request_to("r.io:5000")).status == 200);
    CHECK(on.clock.slept() == 0ms);

    auto const copy = on.over; // copies share it
    std::vector<std::thread> threads;
    std::atomic<int> answered{0};
    for (int i = 0; i < 8; ++i)
        threads.emplace_back(
            [&, mine = copy]() mutable { answered += mine.send(request_to()).status == 200; });
    for (auto& one : threads) one.join();
    CHECK(answered == 8);
    CHECK(on.clock.slept() >= 30s);
    CHECK(on.attempts() == 11);
}

TEST_CASE("the budget is for the time since the last progress", "[registry]") {
    manual_clock clock;
    retrying<script, manual_clock> over{script{clock, {reply{}}}, {}, clock};
    auto session = over.attempts_at(request_to().target.from());
    registry_error const failure{"upload", "x", "503", {.retryable = true}};
    auto const fail_until_given_up = [&] {
        auto const start = clock.now();
        for (;;) try {
                session.failed(failure);
            } catch (registry_error const&) {
                return clock.now() - start;
            }
    };
    SECTION("an upload of hours that fails then is tried again") {
        clock.sleep(3h);
        CHECK_NOTHROW(session.failed(failure));
        CHECK(fail_until_given_up() <= 126s);
    }
    SECTION("progress starts it anew") {
        for (int i = 0; i < 100; ++i) {
            session.failed(failure);
            clock.sleep(60s);
            session.progressed();
        }
        CHECK(fail_until_given_up() >= 114s);
    }
    SECTION("the pauses are short again after progress") {
        for (int i = 0; i < 6; ++i) session.failed(failure);
        session.progressed();
        auto const before = clock.slept();
        session.failed(failure);
        CHECK(clock.slept() - before <= 500ms);
    }
    SECTION("attempts and time are those of all of it") {
        clock.sleep(10s);
        session.failed(failure);
        session.progressed();
        registry_error const fatal{"upload", "x", "400", {}};
        try {
            session.failed(fatal);
            FAIL("it goes on");
        } catch (registry_error const& last) {
            CHECK(last.facts().attempts == 2);
            CHECK(last.facts().elapsed == clock.slept());
            CHECK(last.reason().starts_with("400; gave up after 2 attempts in 1"));
        }
    }
}

TEST_CASE("a heartbeat ends the waiting", "[registry]") {
    struct interrupted {};
    int beats = 0;
    steady_pauses const pauses{[&] {
        if (++beats == 3) throw interrupted{};
    }};
    CHECK_THROWS_AS(pauses.sleep(1h), interrupted);

    beats = 0;
    bench on{{slow_down}};
    retrying<script> over{on.next, {}, pauses};
    CHECK_THROWS_AS(over.send(request_to()), interrupted);
    CHECK(on.attempts() == 1);
}

TEST_CASE("the real clock sleeps as long as it is told", "[registry]") {
    steady_pauses const pauses;
    auto const start = steady_pauses::now();
    pauses.sleep(20ms);
    pauses.sleep(0ms);
    pauses.sleep(-5ms);
    auto const slept = steady_pauses::now() - start;
    CHECK(slept >= 20ms);
    CHECK(slept < 2s);
}

TEST_CASE("who wants to know hears of each failure and of the pause that follows", "[registry]") {
    std::vector<std::pair<std::string, milliseconds>> heard;
    steady_pauses const clock{{}, [&](remote_error const& failure, milliseconds pause) {
                                  heard.emplace_back(failure.reason(), pause);
                              }};
    script const transport{{}, {reply{503, {}, "busy"}, lost{}, reply{}}};
    retrying over{transport, retry_policy{.first_pause = 2ms}, clock};
    CHECK(over.send({.method = "GET",
                     .target = url::parse("https://r.io/v2/"),
                     .access = {.registry = url::parse("https://r.io/").from()}})
              .status == 200);
    REQUIRE(heard.size() == 2);
    CHECK_THAT(heard[0].first, contains("503"));
    CHECK(heard[0].second <= 2ms);
    CHECK(heard[1].first == "lost");
    CHECK(heard[1].second <= 4ms);
}
