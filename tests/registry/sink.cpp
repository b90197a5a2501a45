#include <shiplap/registry/sink.hpp>

#include "registry/rig.hpp"
#include "support/catch.hpp"
#include "support/sample_image.hpp"
#include "support/temp.hpp"

#include <optional>

using namespace rig;
using registry_test::always;
using registry_test::quirks;

namespace {

enum class ends { well, in_registry_error, in_transport_error, in_digest_mismatch };

char const* name_of(ends how) {
    static constexpr char const* names[] = {"well", "registry_error", "transport_error", "digest_mismatch"};
    return names[static_cast<std::size_t>(how)];
}

/// How a push ended, and what the error said.
struct outcome {
    ends how = ends::well;
    std::string text{};
    failure_facts facts{};
};

template <class Function>
outcome outcome_of(Function&& push) {
    try {
        push();
        return {};
    } catch (registry_error const& failure) {
        return {ends::in_registry_error, failure.what(), failure.facts()};
    } catch (transport_error const& failure) {
        return {ends::in_transport_error, failure.what(), failure.facts()};
    } catch (digest_mismatch const& failure) {
        return {ends::in_digest_mismatch, failure.what()};
    }
}

/// A row of the table of oddities: a push to a registry that has it.
struct oddity {
    std::string name;
    quirks how;
    ends expected = ends::well;
    std::string says{};      ///< part of the error
    std::uint64_t piece = 0; ///< 0: whatever the sink thinks right
    bool trusts_other_port = true;
    std::function<std::string(test_registry const&)> also = [](test_registry const&) { return ""; };
};

std::string expect(bool holds, std::string const& what) {
    return holds ? "" : "not so: " + what + "\n";
}

std::string push_to_odd_registry(oddity const& odd, memory_store const& store, descriptor const& root) {
    test_registry registry{odd.how};
    registry_options options{.transfers = 1};
    if (odd.piece != 0) options.upload = {.piece = odd.piece, .in_pieces = true};
    std::vector<std::string> trusted;
    if (odd.trusts_other_port) trusted.push_back(registry.other_authority());
    auto const got = outcome_of([&] {
        push(open_way({.budget = 400ms, .first_pause = 1ms, .longest_pause = 10ms}, network(trusted)), root,
             store, registry, {"app:1"}, options);
    });
    std::string wrong;
    if (got.how != odd.expected)
        wrong += std::string{"ended in "} + name_of(got.how) + ": " + got.text + "\n";
    if (got.text.find(odd.says) == std::string::npos) wrong += "does not say it: " + got.text + "\n";
    if (got.text.find('\x1b') != std::string::npos || got.text.size() > 2000) wrong += "is no clean text\n";
    if (got.how == ends::well) {
        wrong += lacking(registry, "app", root, store);
        if (registry.tag("app", "1") != root.digest.text()) wrong += "the tag is not set\n";
        // Once more: nothing is sent again.
        auto const bytes = registry.bytes_uploaded();
        registry.new_push();
        push(open_way(brisk, network(trusted)), root, store, registry, {"app:1"}, options);
        wrong += expect(registry.bytes_uploaded() == bytes, "nothing is sent twice");
    } else {
        wrong += expect(!registry.tag("app", "1"), "the tag is untouched");
    }
    wrong += odd.also(registry) + misdeeds(registry);
    return wrong.empty() ? "" : odd.name + ": " + wrong;
}

auto requests_at_most(std::size_t most, request_kind kind) {
    return [=](test_registry const& registry) {
        return expect(registry.count(kind) <= most, "at most " + std::to_string(most) + " of " +
                                                        registry_test::name_of(kind) + ", but " +
                                                        std::to_string(registry.count(kind)));
    };
}

auto largest_body(std::uint64_t most) {
    return [=](test_registry const& registry) {
        return expect(registry.count_if([&](request_record const& one) {
            return one.status < 300 && one.body_bytes > most && one.kind != request_kind::put_manifest;
        }) == 0,
                      "no accepted body is larger");
    };
}

} // namespace

TEST_CASE("a push: blobs, manifests by digest, then the tag", "[registry][sink]") {
    test_registry registry;
    memory_store store;
    auto const one = put_layers(store, {10'000, 200, 3'000}, 1);
    auto const two = put_layers(store, {10'000, 50}, 2);
    auto const both =
        samples::put_index(store, {samples::on(one, "linux", "amd64"), samples::on(two, "linux", "arm64")});
    bool const index = GENERATE(false, true);
    auto const& root = index ? both : one;
    push(open_way(), root, store, registry);

    CHECK(lacking(registry, "app", root, store) == "");
    CHECK(registry.tag("app", "1") == root.digest.text());
    std::vector<std::string> manifests;
    std::size_t last_blob = 0, first_manifest = 0;
    for (auto const& request : registry.requests()) {
        if (request.kind == request_kind::put_upload) last_blob = request.number;
        if (request.kind != request_kind::put_manifest) continue;
        if (manifests.empty()) first_manifest = request.number;
        manifests.push_back(request.reference);
    }
    CHECK(last_blob < first_manifest);
    std::vector<std::string> expected;
    for (auto const& node : read_graph(root, store).contents)
        if (is_document(node.what)) expected.push_back(node.what.digest.text());
    expected.emplace_back("1"); // the tag, last
    CHECK(manifests == expected);
    CHECK(registry.requests().back().reference == "1");
    CHECK(registry.open_uploads() == 0);
    CHECK(misdeeds(registry) == "");
}

TEST_CASE("a push of what is there asks once for each blob, and reads none", "[registry][sink]") {
    test_registry registry;
    memory_store store;
    auto const root = put_layers(store, std::vector<std::size_t>(100, 2'000));
    counting_store const counted{&store};
    push(open_way(), root, counted, registry);
    CHECK(*counted.bytes > 200'000);

    registry.reset();
    *counted.bytes = 0;
    push(open_way(), root, counted, registry);
    CHECK(registry.count() == 102); // the tag, 100 layers, the configuration
    CHECK(registry.count(request_kind::put_manifest) == 0);
    CHECK(*counted.bytes == 0);
    CHECK(misdeeds(registry) == "");
}

TEST_CASE("registries differ", "[registry][sink]") {
    memory_store store;
    auto const root = put_layers(store, {40'000, 7'000, 3'000'000});
    auto const well = ends::well;
    auto const refused = ends::in_registry_error;
    auto const cannot = ends::in_transport_error;
    constexpr std::uint64_t pieces = 16 * 1024;

    std::vector<oddity> const all{
        // --- pieces
        {"to the letter, in pieces", {}, well, "", pieces},
        {"PATCH answers 201", {.patch_answers_created = true}, well, "", pieces},
        {"the range is stuck, bytes vanish",
         {.stuck = registry_test::stuck_range::discards},
         well,
         "",
         pieces,
         true,
         requests_at_most(2, request_kind::patch_upload)}, // learned with the first blob, for all
        {"the range is stuck",
         {.stuck = registry_test::stuck_range::keeps},
         well,
         "",
         pieces,
         true,
         requests_at_most(2, request_kind::patch_upload)},
        {"the range is stuck and bodies are small",
         {.stuck = registry_test::stuck_range::discards, .max_body = 1'100'000},
         refused,
         "raise the limit",
         pieces},
        {"the range is behind", {.range_behind_by = 100}, well, "", pieces},
        {"the range is ahead", {.range_ahead_by = 100}, refused, "bytes, but only", pieces},
        {"no status", {.status_not_found = true}, well, "", pieces},
        {"an empty closing PUT fails", {.empty_closing_put_fails = true}, well, "", pieces},
        {"pieces have a minimum",
         {.chunk_min_length = 500'000},
         well,
         "",
         pieces,
         true,
         requests_at_most(9, request_kind::patch_upload)},
        {"partial bodies are dropped", {.keep_partial_bodies = false}, well, "", pieces},
        {"content ranges in either form", {.loose_content_range = true}, well, "", pieces},
        {"bodies are small", {.max_body = 1'100'000}, well, "", 0, true, largest_body(1'100'000)},
        {"bodies are too small", {.max_body = 1'000}, refused, "raise the limit"},
        {"uploads are redirected", {.redirect_uploads = 307}, well},
        {"uploads are redirected for good", {.redirect_uploads = 308}, well, "", pieces},
        // --- Location
        {"relative", {.location = location_form::relative}, well, "", pieces},
        {"absolute", {.location = location_form::absolute}, well, "", pieces},
        {"without scheme", {.location = location_form::protocol_relative}, well, "", pieces},
        {"elsewhere", {.location = location_form::other_port}, well, "", pieces},
        {"elsewhere, inside", {.location = location_form::other_port}, cannot, "address inside", 0, false},
        {"none", {.location = location_form::missing}, refused, "Location"},
        {"two", {.location = location_form::twice}, refused, "Location"},
        {"a file", {.location = location_form::scheme}, refused, "Location"},
        {"gopher", {.location = location_form::scheme, .location_scheme = "gopher"}, refused, "Location"},
        {"changing state", {.location_state = true}, well, "", pieces},
        {"a digest in it", {.location_digest = true}, well, "", pieces},
        {"singular", {.location_singular = true}, well, "", pieces},
        {"a fragment", {.location_fragment = true}, well, "", pieces},
        {"long", {.location_long = true}, well, "", pieces},
        // --- questions
        {"no HEAD for manifests", {.head_manifest_status = 405}, well},
        {"no HEAD for blobs", {.head_blob_status = 405}, well},
        {"bad HEAD for blobs", {.head_blob_status = 400}, well},
        {"no length", {.head_without_length = true}, well},
        {"no digest", {.digest_headers = digest_header::absent}, well},
        {"another algorithm", {.digest_headers = digest_header::other_algorithm}, well},
        {"a wrong digest",
         {.digest_headers = digest_header::wrong},
         refused,
         "the registry says that it has"},
        {"blobs are redirected", {.redirect_blobs = true}, well},
        // --- manifests
        {"blobs appear late",
         {.blob_unknown_times = 3},
         well,
         "",
         0,
         true,
         requests_at_most(5, request_kind::put_manifest)},
        {"blobs appear late, with 400", {.blob_unknown_times = 3, .unknown_blob_is_not_found = false}, well},
        {"blobs never appear", {.blob_unknown_times = always}, refused, "MANIFEST_BLOB_UNKNOWN"},
        {"a blob is lost", {.loses_blobs = 1}, well},
        {"blobs are lost again and again", {.loses_blobs = 3}, well},
        // --- permission
        {"read-only", {.read_only = true}, refused, "405"},
        {"read-only by 403", {.read_only = true, .read_only_status = 403}, refused, "403"},
        {"denied", {.denied_repositories = {"app"}}, refused, "DENIED"},
        // --- manners
        {"cookies", {.session_cookies = true}, well},
        {"HTML", {.denied_repositories = {"app"}, .errors = error_form::html}, refused, "nginx"},
        {"no words", {.denied_repositories = {"app"}, .errors = error_form::empty}, refused, "403"},
        {"many words", {.denied_repositories = {"app"}, .errors = error_form::huge}, refused, "403"},
        {"words for the terminal",
         {.denied_repositories = {"app"}, .errors = error_form::escapes},
         refused,
         "\\x1b"},
        {"no words for a lost blob", {.loses_blobs = 1, .errors = error_form::empty}, well},
        {"headers nobody asked for",
         {.extra_headers = {{"Warning", "299 - \"old\""}, {"X-Request-Id", "7"}}},
         well},
        {"slow to confirm", {.commit_delay = 50ms}, well},
    };
    std::vector<std::function<std::string()>> cases;
    for (auto const& odd : all) cases.emplace_back([&] { return push_to_odd_registry(odd, store, root); });
    CHECK(all_wrong(cases) == "");
}

TEST_CASE("a mount that is refused is no failure", "[registry][sink]") {
    memory_store store;
    auto const root = put_layers(store, {40'000, 7'000});
    struct row {
        mount_answer how;
        std::size_t mounts, starts; // requests
        std::uint64_t sent;         // bytes
    };
    auto const all =
        47'000 + samples::facts_of(R"({"architecture":"amd64","os":"linux","author":"someone"})").size;
    auto const one = GENERATE_COPY(values<row>({{mount_answer::as_asked, 3, 0, 0},
                                                {mount_answer::session, 3, 0, all},
                                                {mount_answer::unauthorized, 3, 3, all},
                                                {mount_answer::forbidden, 3, 3, all},
                                                {mount_answer::not_found, 3, 3, all},
                                                {mount_answer::not_allowed, 3, 3, all},
                                                {mount_answer::bad_request, 3, 3, all},
                                                {mount_answer::server_error, 3, 3, all}}));
    bool const tokens = GENERATE(false, true);
    INFO(static_cast<int>(one.how) << (tokens ? " with tokens" : ""));
    test_registry registry{{.auth = {.mode = tokens ? auth_mode::bearer : auth_mode::none}}};
    auto const known = std::make_shared<known_repositories>();
    auto const deliver = [&](std::string const& name) {
        if (tokens)
            push(login_way(registry), root, store, registry, {name}, {.known = known});
        else
            push(open_way(), root, store, registry, {name}, {.known = known});
    };
    deliver("first/app:1");
    registry.reset();
    registry.change([&](quirks& how) { how.mount = one.how; });
    deliver("second/app:1");
    CHECK(registry.count(request_kind::mount) == one.mounts);
    CHECK(registry.count(request_kind::start_upload) == one.starts);
    CHECK(registry.bytes_uploaded() == one.sent);
    CHECK(lacking(registry, "second/app", root, store) == "");
    CHECK(misdeeds(registry) == "");
}

TEST_CASE("what is known of other repositories is remembered in the state folder", "[registry][sink]") {
    temp_dir state;
    test_registry registry;
    memory_store store;
    auto const root = put_layers(store, {40'000});
    counting_store const counted{&store};
    push(open_way(), root, counted, registry, {"one:1"}, {.state_folder = state / "s"});
    *counted.bytes = 0;
    push(open_way(), root, counted, registry, {"two:1"}, {.state_folder = state / "s"});
    CHECK(registry.count(request_kind::mount, 201) == 2);
    CHECK(*counted.bytes == 0); // not even to look what they are
    registry.delete_blob("one", read_graph(root, store).contents.front().what.digest.text());
    registry.delete_blob("two", read_graph(root, store).contents.front().what.digest.text());
    push(open_way(), root, counted, registry, {"three:1"}, {.state_folder = state / "s"});
    CHECK(lacking(registry, "three", root, store) == "");
    CHECK(misdeeds(registry) == "");
}

TEST_CASE("immutable tags", "[registry][sink]") {
    auto const header = GENERATE(digest_header::right, digest_header::absent, digest_header::other_algorithm);
    test_registry registry{{.immutable_tags = true, .digest_headers = header}};
    memory_store store;
    auto const root = put_layers(store, {4'000});
    push(open_way(), root, store, registry);
    registry.reset();

    push(open_way(), root, store, registry);
    CHECK(registry.count_tag_puts() == (header == digest_header::other_algorithm ? 1 : 0));

    registry.new_push();
    auto const other = put_layers(store, {5'000}, 7);
    auto const got = outcome_of([&] { push(open_way(), other, store, registry); });
    CHECK(got.how == ends::in_registry_error);
    CHECK_THAT(got.text, contains("immutable") && contains("another tag"));
    CHECK(registry.tag("app", "1") == root.digest.text());
    CHECK(misdeeds(registry) == "");
}

TEST_CASE("an immutable tag is set though the answer gets lost", "[registry][sink]") {
    test_registry registry{{.immutable_tags = true}};
    registry.fail({.on = request_kind::put_manifest, .nth = 2, .with = lost_reply{}});
    memory_store store;
    auto const root = put_layers(store, {4'000});
    push(open_way(), root, store, registry);
    CHECK(registry.tag("app", "1") == root.digest.text());
    CHECK(misdeeds(registry) == "");
}

TEST_CASE("all names, or word of each", "[registry][sink]") {
    test_registry registry;
    memory_store store;
    auto const root = put_layers(store, {4'000, 6'000});
    std::vector<std::string> const names{"app:1", "app:latest", "team/app:1"};

    SECTION("all") {
        push(open_way(), root, store, registry, names);
        CHECK(registry.tag("app", "1") == root.digest.text());
        CHECK(registry.tag("app", "latest") == root.digest.text());
        CHECK(registry.tag("team/app", "1") == root.digest.text());
        CHECK(registry.count(request_kind::mount, 201) == 3); // the second repository takes it from the first
        CHECK(lacking(registry, "team/app", root, store) == "");
    }
    SECTION("a name without tag means latest") {
        push(open_way(), root, store, registry, {"app"});
        CHECK(registry.tag("app", "latest") == root.digest.text());
    }
    SECTION("only those that stand for something else") {
        push(open_way(), root, store, registry, {"app:1"});
        registry.reset();
        push(open_way(), root, store, registry, names);
        CHECK(registry.count_tag_puts() == 2);
    }
    SECTION("the second fails") {
        registry.fail({.on = request_kind::put_manifest,
                       .target_has = "/latest",
                       .times = always,
                       .with = answer{403, {}, R"({"errors":[{"code":"DENIED","message":"protected"}]})"}});
        auto const got = outcome_of([&] { push(open_way(), root, store, registry, names); });
        CHECK(got.how == ends::in_registry_error);
        CHECK(got.facts.registry_code == "DENIED");
        auto const here = registry.authority();
        CHECK_THAT(got.text, contains("stand for the new image: " + here + "/app:1;") &&
                                 contains("do not, as far as is known: " + here + "/app:latest, " + here +
                                          "/team/app:1"));
        CHECK(registry.tag("app", "1") == root.digest.text());
        CHECK_FALSE(registry.tag("app", "latest"));
        CHECK_FALSE(registry.tag("team/app", "1"));
    }
    SECTION("by digest") {
        push(open_way(), root, store, registry, {"app", "team/app"}, {.by_digest = true});
        CHECK(registry.count_tag_puts() == 0);
        CHECK(lacking(registry, "app", root, store) + lacking(registry, "team/app", root, store) == "");
        CHECK_THROWS_WITH(push(open_way(), root, store, registry, {"app:1"}, {.by_digest = true}),
                          contains("can't push tagged ref " + registry.authority() + "/app:1 by digest"));
    }
    SECTION("untagged as well") {
        push(open_way(), root, store, registry, {"app:1"}, {.untagged = {at(registry, "copy/app")}});
        CHECK(registry.count_tag_puts() == 1);
        CHECK(lacking(registry, "app", root, store) + lacking(registry, "copy/app", root, store) == "");
    }
    CHECK(misdeeds(registry) == "");
}

TEST_CASE("a sink needs a name, and knows its own", "[registry][sink]") {
    CHECK_THROWS_AS((registry_sink{open_way(), {}}), option_error);
    registry_sink sink{open_way(), {reference::parse("r.io/app:1")}};
    memory_store store;
    auto const root = put_layers(store, {10});
    CHECK_NOTHROW(sink.tag(root, {"r.io/app:1", "1"}));
    CHECK_NOTHROW(sink.tag(root, image_name{}));
    CHECK_THROWS_AS(sink.tag(root, {"r.io/app:2", "2"}), option_error);
}

TEST_CASE("one sink delivers several images", "[registry][sink]") {
    test_registry registry{{}, {.tag_is_last = false}};
    memory_store store;
    auto const one = put_layers(store, {4'000}, 1);
    auto const two = samples::put_index(store, {samples::on(one, "linux", "amd64")});
    registry_sink sink{open_way(), {at(registry, "app:1")}};
    quiet_env env;
    for (auto const& root : {two, one, two}) {
        copy(root, {}, store, sink, env);
        CHECK(registry.tag("app", "1") == root.digest.text());
        CHECK(registry.manifest("app", "1") == store.blobs().at(root.digest));
    }
    CHECK(misdeeds(registry) == "");
}

TEST_CASE("a layer that is not packed as its media type says is not sent", "[registry][sink]") {
    test_registry registry;
    memory_store store;
    struct row {
        std::string type, encoding;
        bool right;
    };
    auto const [type, encoding, right] = GENERATE(values<row>({
        {"application/vnd.oci.image.layer.v1.tar", "", true},
        {"application/vnd.oci.image.layer.v1.tar", "gzip", false},
        {"application/vnd.oci.image.layer.v1.tar+gzip", "gzip", true},
    }));
    INFO(type << " " << encoding);
    auto const layer = samples::put(store, encoded(encoding, letters(1'000)), type);
    auto const root = samples::put_manifest(store, {layer}, "someone");
    if (right) {
        push(open_way(), root, store, registry);
        CHECK(lacking(registry, "app", root, store) == "");
    } else {
        CHECK_THROWS_AS(push(open_way(), root, store, registry), format_error);
        CHECK(registry.bytes_uploaded() < 1'000);
        CHECK_FALSE(registry.tag("app", "1"));
    }
    CHECK(misdeeds(registry) == "");
}

TEST_CASE("a layer that is to be fetched from elsewhere is not sent", "[registry][sink]") {
    test_registry registry;
    memory_store store;
    auto foreign =
        samples::put(store, letters(1'000), "application/vnd.oci.image.layer.nondistributable.v1.tar");
    foreign.urls = {"https://example.com/layer.tar"};
    auto const root = samples::put_manifest(
        store, {samples::put(store, letters(500, 3), oci_media_types::layer("")), foreign}, "x");
    push(open_way(), root, store, registry, {"app:1"}, {});
    CHECK_FALSE(registry.has_blob("app", foreign.digest.text()));
}

TEST_CASE("two pushes of one image at once", "[registry][sink]") {
    test_registry registry{{}, {.digest_before_tag = false, .tag_is_last = false, .blobs_confirmed = false}};
    memory_store store;
    auto const root = put_layers(store, {400'000, 300'000});
    temp_dir state;
    std::vector<std::function<std::string()>> cases(6, [&] {
        return outcome_of([&] {
                   push(open_way(), root, store, registry, {"app:1"},
                        {.upload = {.worth_a_record = 1'000}, .state_folder = state / "s"});
               })
            .text;
    });
    CHECK(all_wrong(cases) == "");
    CHECK(lacking(registry, "app", root, store) == "");
    CHECK(misdeeds(registry) == "");
}

TEST_CASE("a registry that does not know us is told of first", "[registry][sink]") {
    test_registry registry{{.auth = {.mode = auth_mode::bearer, .password = "another"}}};
    registry_sink sink{login_way(registry), {at(registry, "app:1")}};
    auto const got = outcome_of([&] { sink.connect(); });
    CHECK(got.how == ends::in_registry_error);
    CHECK(got.facts.http_status == 401);
    CHECK_THAT(got.text, contains("docker login"));
    CHECK(misdeeds(registry) == "");
}

TEST_CASE("credentials stay with the registry", "[registry][sink]") {
    auto const how =
        GENERATE(values<quirks>({{.location = location_form::other_port}, {.redirect_uploads = 307}}));
    auto settings = how;
    settings.auth.mode = GENERATE(auth_mode::basic, auth_mode::bearer);
    test_registry registry{settings};
    memory_store store;
    auto const root = put_layers(store, {4'000});
    push(login_way(registry, brisk, network({registry.other_authority()})), root, store, registry);
    CHECK(registry.count_if(
              [](request_record const& one) { return one.other_port && one.body_bytes != 0; }) == 2);
    CHECK(lacking(registry, "app", root, store) == "");
    CHECK(misdeeds(registry) == ""); // of which one is: a credential reached the other port
}
