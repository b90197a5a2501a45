#pragma once
// A registry for tests: the distribution API on a real socket of 127.0.0.1, with the quirks and faults of real ones,
// and with an eye on the client. It needs nothing of the library that it tests, and can test any client:
//
//     test_registry registry{{.patch_answers_created = true}};
//     registry.fail({.on = request_kind::put_manifest, .times = 1, .with = answer{429, {{"Retry-After", "1"}}}});
//     push_something_to(registry.authority());                      // "127.0.0.1:34567", plain HTTP
//     CHECK(registry.count(request_kind::put_manifest) == 2);
//     CHECK(registry.tag("app", "latest") == digest);
//     REQUIRE(registry.violations().empty());                       // what no correct client does
//
// quirks.hpp has the switches, faults.hpp what can go wrong and when, record.hpp what is kept of each request.
// All members may be called while clients are at work.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <support/registry/core.hpp>
#include <support/registry/holdings.hpp>
#include <support/registry/server.hpp>

namespace registry_test {

class test_registry : private core_owner, public holdings {
  public:
    explicit test_registry(quirks how = {}, checks rules = {})
        : core_owner{std::move(how), rules}, holdings{owned}, server_{owned} {}

    // --- where it is

    /// "127.0.0.1:34567"
    [[nodiscard]] std::string authority() const { return core_.main_port.authority(); }
    [[nodiscard]] std::uint16_t port() const { return core_.main_port.port(); }
    /// A second origin: what is sent there must have no credentials.
    [[nodiscard]] std::string other_authority() const { return core_.other_port.authority(); }
    [[nodiscard]] std::uint16_t other_port() const { return core_.other_port.port(); }
    /// Ends all connections, as a restart does. Contents and uploads stay.
    void hang_up() { server_.hang_up(); }
    /// Before the destructor does so: whoever comes then is refused.
    void stop() { server_.stop(); }

    // --- how it behaves

    /// registry.change([](quirks& how) { how.read_only = true; });
    template <class Function>
    void change(Function&& how) {
        std::scoped_lock const lock{core_.mutex};
        how(core_.how);
    }
    void fail(fault what) { core_.faults.add(std::move(what)); }
    /// The n-th request since the start or the last reset(), from 1.
    void fail_request(std::size_t n, fault_action action) { core_.faults.add(n, std::move(action)); }
    void clear_faults() { core_.faults.clear(); }
    /// Every token that was given out is no longer valid.
    void revoke_tokens() {
        std::scoped_lock const lock{core_.mutex};
        core_.tokens.clear();
    }
    /// Uploads under way are forgotten, as after a night.
    void forget_uploads() {
        std::scoped_lock const lock{core_.mutex};
        core_.held.uploads.clear();
    }
    /// From now on these rules for the client.
    void expect(checks rules) {
        std::scoped_lock const lock{core_.mutex};
        core_.check.rules = rules;
    }
    /// Another push begins: what the client knew is forgotten, and tags may be followed by blobs again.
    void new_push() {
        std::scoped_lock const lock{core_.mutex};
        core_.check.new_push();
    }

    // --- what was asked

    [[nodiscard]] std::vector<request_record> requests() const {
        std::scoped_lock const lock{core_.mutex};
        std::vector<request_record> copy;
        for (auto const& one : core_.records) copy.push_back(*one);
        return copy;
    }
    template <class Predicate>
    [[nodiscard]] std::size_t count_if(Predicate fits) const {
        std::scoped_lock const lock{core_.mutex};
        std::size_t number = 0;
        for (auto const& one : core_.records) number += fits(*one) ? 1U : 0U;
        return number;
    }
    [[nodiscard]] std::size_t count() const {
        return count_if([](request_record const&) { return true; });
    }
    [[nodiscard]] std::size_t count(request_kind kind) const {
        return count_if([&](request_record const& one) { return one.kind == kind; });
    }
    [[nodiscard]] std::size_t count(request_kind kind, int status) const {
        return count_if([&](request_record const& one) { return one.kind == kind && one.status == status; });
    }
    /// Manifests put by tag, which is what makes an image visible.
    [[nodiscard]] std::size_t count_tag_puts() const {
        return count_if(
            [](request_record const& one) { return one.kind == request_kind::put_manifest && one.by_tag(); });
    }
    [[nodiscard]] std::size_t token_requests() const { return count(request_kind::token); }
    /// Bodies of POST, PATCH and PUT for uploads, also those that led to nothing.
    [[nodiscard]] std::uint64_t bytes_uploaded() const {
        std::scoped_lock const lock{core_.mutex};
        std::uint64_t sum = 0;
        for (auto const& one : core_.records)
            if (one->kind == request_kind::start_upload || one->kind == request_kind::patch_upload ||
                one->kind == request_kind::put_upload)
                sum += one->body_bytes;
        return sum;
    }
    /// To the registry's own port, since the start.
    [[nodiscard]] std::size_t connections() const {
        std::scoped_lock const lock{core_.mutex};
        return core_.connections;
    }
    /// Waits until that many requests of a kind have come; false when they do not in time.
    [[nodiscard]] bool wait_for(request_kind kind, std::size_t number = 1,
                                std::chrono::milliseconds patience = std::chrono::seconds{5}) const {
        auto const until = std::chrono::steady_clock::now() + patience;
        while (count(kind) < number) {
            if (std::chrono::steady_clock::now() > until) return false;
            std::this_thread::sleep_for(std::chrono::milliseconds{2});
        }
        return true;
    }
    /// Waits until nothing is being served: what a client left behind when it died has then been recorded.
    [[nodiscard]] bool wait_until_idle(std::chrono::milliseconds patience = std::chrono::seconds{5}) const {
        std::unique_lock lock{core_.mutex};
        return core_.changed.wait_for(lock, patience, [&] { return core_.being_served == 0; });
    }
    /// Sentences about what no correct client does.
    [[nodiscard]] std::vector<std::string> violations() const {
        std::scoped_lock const lock{core_.mutex};
        return core_.check.violations;
    }
    /// Forgets requests, violations and faults, and begins a new push. Contents and switches stay.
    void reset() {
        clear_faults();
        std::scoped_lock const lock{core_.mutex};
        core_.records.clear();
        core_.check.violations.clear();
        core_.check.new_push();
    }

  private:
    server server_;
};

} // namespace registry_test

// The words of tests.
using registry_test::always;
using registry_test::answer;
using registry_test::auth_mode;
using registry_test::call;
using registry_test::cut_reply;
using registry_test::delay;
using registry_test::digest_header;
using registry_test::drop_connection;
using registry_test::error_form;
using registry_test::hang_up_after;
using registry_test::location_form;
using registry_test::lost_reply;
using registry_test::mount_answer;
using registry_test::request_kind;
using registry_test::request_record;
using registry_test::stall;
using registry_test::stuck_range;
using registry_test::test_registry;
using registry_test::token_names;
using registry_test::trickle;
