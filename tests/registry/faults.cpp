// Whatever goes wrong, wherever: a push succeeds if it passes, and then everything is there; or it fails, says what
// was wrong, and the tag stays as it was. Every single request fails in turn, in every way.

#include "registry/rig.hpp"
#include "support/catch.hpp"

#include <map>
#include <optional>

using namespace rig;
using registry_test::always;
using registry_test::fault;
using registry_test::fault_action;

namespace {

std::string const old_image = "{}";

struct named_fault {
    std::string name;
    fault_action action;
};

/// One push, with what it was to go wrong in.
struct trial {
    memory_store const& store;
    descriptor const& root;
    retry_policy policy = brisk;
    bool tokens = false;
    registry_options options{.transfers = 1};

    /// `prepare` the registry; returns what is wrong afterwards. `must`: how it has to end, if that is known.
    [[nodiscard]] std::string run(std::string const& what, std::function<void(test_registry&)> const& prepare,
                                  std::optional<bool> must, bool tag_may_move = false) const {
        test_registry registry{{.auth = {.mode = tokens ? auth_mode::bearer : auth_mode::none}}};
        registry.set_tag("app", "1", registry.put_manifest("app", old_image));
        prepare(registry);
        std::optional<std::string> failure;
        try {
            if (tokens)
                push(login_way(registry, policy), root, store, registry, {"app:1"}, options);
            else
                push(open_way(policy), root, store, registry, {"app:1"}, options);
        } catch (error const& caught) {
            failure = caught.what();
        }
        (void)registry.wait_until_idle();

        std::string wrong;
        auto const tag = registry.tag("app", "1");
        if (!failure) {
            wrong += lacking(registry, "app", root, store);
            if (tag != root.digest.text()) wrong += "the tag does not stand for the image\n";
            if (must == false) wrong += "should have failed\n";
        } else {
            if (must == true) wrong += "failed: " + *failure + "\n";
            if (tag == root.digest.text() && !tag_may_move) wrong += "the tag has moved\n";
            if (failure->find(registry.authority()) == std::string::npos)
                wrong += "does not name the registry: " + *failure + "\n";
        }
        wrong += misdeeds(registry);
        return wrong.empty() ? "" : what + ": " + wrong;
    }

    /// The requests of a push in which nothing goes wrong.
    [[nodiscard]] std::vector<request_record> requests() const {
        std::vector<request_record> all;
        auto const wrong = run(
            "nothing", [](test_registry&) {}, true);
        REQUIRE(wrong == "");
        test_registry registry{{.auth = {.mode = tokens ? auth_mode::bearer : auth_mode::none}}};
        registry.set_tag("app", "1", registry.put_manifest("app", old_image));
        if (tokens)
            push(login_way(registry), root, store, registry, {"app:1"}, options);
        else
            push(open_way(), root, store, registry, {"app:1"}, options);
        return registry.requests();
    }
};

std::vector<named_fault> faults_of_answers() {
    auto const json = [](std::string const& code, std::string const& message) {
        return R"({"errors":[{"code":")" + code + R"(","message":")" + message + "\"}]}";
    };
    return {
        {"429", answer{429, {}, json("TOOMANYREQUESTS", "slow down")}},
        {"429 at once", answer{429, {{"Retry-After", "0"}}, "", true}},
        {"500", answer{500, {}, json("UNKNOWN", "oops")}},
        {"502", answer{502, {}, "<html>bad gateway</html>"}},
        {"503 early", answer{503, {}, "", true}},
        {"403 of a rate limit", answer{403, {}, R"({"message":"You have exceeded a secondary rate limit"})"}},
        {"answer lost, reset", lost_reply{true}},
        {"answer lost, closed", lost_reply{false}},
        {"answer cut", cut_reply{50, false}},
        {"answer without end", cut_reply{50, true}},
        {"connection closed afterwards", hang_up_after{}}};
}

/// Connections that break at telling places of a body of that size.
std::vector<named_fault> breaks_of(std::uint64_t body) {
    std::vector<named_fault> all;
    for (auto const at : std::set<std::uint64_t>{0, 1, 4095, 4096, body / 2, body - 1, body})
        if (at <= body) all.push_back({"reset at byte " + std::to_string(at), drop_connection{at, true}});
    return all;
}

} // namespace

TEST_CASE("each request of a push may fail once, in any way", "[registry][faults]") {
    memory_store store;
    auto const root = put_layers(store, {10'000, 5'000, 20'000});
    trial const push_of_three{store, root};
    auto const requests = push_of_three.requests();
    CHECK(requests.size() == 1 + 4 * 3 + 2); // the tag; HEAD, POST and PUT of each blob; the manifest twice

    std::vector<std::function<std::string()>> cases;
    for (auto const& request : requests) {
        auto all = faults_of_answers();
        if (request.body_bytes != 0)
            for (auto& one : breaks_of(request.body_bytes)) all.push_back(std::move(one));
        else
            all.push_back({"dropped", drop_connection{}});
        for (auto& one : all)
            cases.emplace_back([&, one, number = request.number, text = request.text()] {
                return push_of_three.run(
                    one.name + " in " + text,
                    [&](test_registry& registry) {
                        registry.fail_request(number, one.action);
                        // "201 Created" is an answer, whatever becomes of the words after it.
                        registry.expect({.digest_before_tag = !one.name.starts_with("answer")});
                    },
                    true);
            });
    }
    CHECK(all_wrong(cases) == "");
}

TEST_CASE("silence ends, and Retry-After is heeded", "[registry][faults]") {
    memory_store store;
    auto const root = put_layers(store, {8'000'000}); // more than all buffers on the way can hold
    trial const push_of_one{.store = store,
                            .root = root,
                            .policy = {.budget = 4s, .first_pause = 2ms, .longest_pause = 30ms},
                            .options = {.transfers = 1, .upload = {.patience = 400ms}}};
    std::vector<std::function<std::string()>> cases;
    for (auto const& request : push_of_one.requests()) {
        auto const text = request.text();
        auto const number = request.number;
        cases.emplace_back([&, number, text] {
            auto const begin = std::chrono::steady_clock::now();
            auto wrong = push_of_one.run(
                "429 for 1 s in " + text,
                [&](test_registry& registry) {
                    registry.fail_request(number, answer{429, {{"Retry-After", "1"}}});
                },
                true);
            if (std::chrono::steady_clock::now() - begin < 1s) wrong += "did not wait, in " + text;
            return wrong;
        });
        if (request.kind != request_kind::put_upload) continue; // the others wait for half a minute
        for (bool const reads : {false, true})
            cases.emplace_back([&, number, text, reads] {
                return push_of_one.run(
                    "silence in " + text,
                    [&](test_registry& registry) { registry.fail_request(number, stall{reads}); }, true);
            });
    }
    CHECK(all_wrong(cases) == "");
}

TEST_CASE("tokens may be revoked before any request", "[registry][faults]") {
    memory_store store;
    auto const root = put_layers(store, {10'000, 5'000, 20'000});
    trial const push_with_tokens{.store = store, .root = root, .tokens = true};
    std::vector<std::function<std::string()>> cases;
    auto const requests = push_with_tokens.requests();
    for (std::size_t i = 0; i < requests.size(); ++i) {
        if (i > 0 && requests[i - 1].kind == request_kind::token)
            continue; // refused though new: no login at all
        cases.emplace_back([&, number = requests[i].number, text = requests[i].text()] {
            return push_with_tokens.run(
                "revoked in " + text,
                [&](test_registry& registry) {
                    registry.fail_request(number, call{[&registry] { registry.revoke_tokens(); }});
                },
                true);
        });
    }
    CHECK(all_wrong(cases) == "");
}

TEST_CASE("any two requests of a push may fail", "[registry][faults]") {
    memory_store store;
    auto const root = put_layers(store, {10'000, 5'000, 20'000});
    trial const push_of_three{store, root};
    std::vector<named_fault> const kinds{{"503", answer{503}},
                                         {"reset", drop_connection{4096, true}},
                                         {"closed", drop_connection{2048, false}},
                                         {"lost", lost_reply{}}};
    auto const requests = push_of_three.requests().size();
    std::vector<std::function<std::string()>> cases;
    for (std::size_t first = 1; first <= requests; ++first)
        for (auto second = first + 1; second <= requests + 2; ++second)
            for (auto const& one : kinds)
                for (auto const& other : kinds)
                    cases.emplace_back([&, first, second] {
                        return push_of_three.run(
                            one.name + " in " + std::to_string(first) + ", " + other.name + " in " +
                                std::to_string(second),
                            [&](test_registry& registry) {
                                registry.fail_request(first, one.action);
                                registry.fail_request(second, other.action);
                            },
                            true);
                    });
    CHECK(all_wrong(cases) == "");
}

TEST_CASE("what always fails ends in an error, and the tag stays", "[registry][faults]") {
    memory_store store;
    auto const root = put_layers(store, {10'000, 5'000});
    trial const hopeless{store, root, {.budget = 150ms, .first_pause = 2ms, .longest_pause = 30ms}};
    std::vector<named_fault> const kinds{
        {"429", answer{429}},   {"429 for a day", answer{429, {{"Retry-After", "86400"}}}},
        {"500", answer{500}},   {"503", answer{503, {}, "<html>no</html>", true}},
        {"401", answer{401}},   {"403", answer{403, {}, R"({"errors":[{"code":"DENIED","message":"no"}]})"}},
        {"418", answer{418}},   {"reset", drop_connection{}},
        {"lost", lost_reply{}},
    };
    std::vector<std::function<std::string()>> cases;
    for (auto const& request : hopeless.requests())
        for (auto const& one : kinds)
            cases.emplace_back([&, request] {
                bool const lost = one.name == "lost";
                // A GET may know better.
                bool const mere_head = request.method == "HEAD" && one.name == "403";
                bool const is_tag = request.kind == request_kind::put_manifest && request.by_tag();
                fault what{.on = request.kind, .times = always, .with = one.action};
                if (request.kind == request_kind::head_blob || request.kind == request_kind::put_manifest)
                    what.target_has = request.reference;
                return hopeless.run(
                    one.name + " in each " + request.text(),
                    [&](test_registry& registry) { registry.fail(what); },
                    lost ? std::nullopt : std::optional{mere_head}, lost && is_tag);
            });
    CHECK(all_wrong(cases) == "");
}
