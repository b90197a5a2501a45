#include <shiplap/registry/authenticated.hpp>
#include <shiplap/registry/curl_transport.hpp>
#include <shiplap/registry/repository.hpp>
#include <shiplap/registry/retry.hpp>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include <support/catch.hpp>
#include <support/test_registry.hpp>

using namespace shiplap;

namespace {

using fields = std::vector<std::pair<std::string, std::string>>;

struct owned_text {
    std::string text;
    std::size_t at = 0;
    std::size_t read(bytes_span into) {
        auto const n = text.copy(reinterpret_cast<char*>(into.data()), into.size(), at);
        at += n;
        return n;
    }
};

struct reply {
    int status = 200;
    fields headers{};
    std::string body{};
};

/// Answers in their order, the last one for ever; keeps what was asked.
struct script {
    std::vector<reply> answers;
    std::vector<std::string> asked{};
    std::vector<http_request> requests{};

    http_response send(http_request const& request) {
        auto const& now = answers[std::min(asked.size(), answers.size() - 1)];
        asked.push_back(request.method + " " + request.target.text());
        requests.push_back(request);
        http_headers headers;
        for (auto const& [name, value] : now.headers) headers.add(name, value);
        return {now.status, std::move(headers), any_byte_source{owned_text{now.body}}};
    }
};

/// "app" of https://r.io, which answers as told.
struct scripted {
    script over;
    repository<script> app{over, host_of("r.io", false), "app"};
    explicit scripted(std::vector<reply> answers) : over{std::move(answers)} {}
};

/// "app" of a registry on a socket; its second port is trusted, for it lies on this machine.
struct on_socket {
    test_registry registry;
    curl_transport over{{.trusted = {registry.other_authority()}, .user_agent = "test"}};
    repository<curl_transport> app{over, host_of(registry.authority(), false), "app"};
    explicit on_socket(registry_test::quirks how = {}) : registry{std::move(how)} {}
    request_record last() const { return registry.requests().back(); }
};

template <class Failure = registry_error, class Work>
std::string failure_of(Work const& work) {
    try {
        (void)work();
    } catch (Failure const& failure) {
        return failure.what();
    }
    return "success";
}

digest digest_of_text(std::string const& text) {
    return digest::of<sha256>(as_bytes(text));
}

std::string const manifest =
    R"({"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",)"
    R"("config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":)"
    R"("sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},)"
    R"("layers":[]})";
std::string const oci_manifest{oci_media_types::manifest}, oci_index{oci_media_types::index};

} // namespace

// --- blobs -------------------------------------------------------------------------------------------------

TEST_CASE("a blob is found by HEAD", "[repository]") {
    on_socket at;
    auto const which = digest::parse(at.registry.put_blob("app", "hello"));
    CHECK(at.app.has_blob(which, 5));
    CHECK(at.last().text() == "HEAD /v2/app/blobs/" + which.text());
    CHECK(at.app.has_blob(which, std::nullopt));
    CHECK_FALSE(at.app.has_blob(which, 6)); // another size is another blob
    CHECK_FALSE(at.app.has_blob(digest_of_text("other"), 5));
    CHECK(at.registry.violations().empty());
}

TEST_CASE("registries that know no HEAD, or tell no size, have blobs, too", "[repository]") {
    struct {
        registry_test::quirks how;
        bool tells_size;
    } const cases[] = {{{.head_blob_status = 405}, true},
                       {{.head_blob_status = 400}, true},
                       {{.head_without_length = true}, false},
                       {{.redirect_blobs = true}, true}};
    for (auto const& [how, tells_size] : cases) {
        on_socket at{how};
        auto const which = digest::parse(at.registry.put_blob("app", "hello"));
        CHECK(at.app.has_blob(which, 5));
        CHECK(at.app.has_blob(which, 6) == !tells_size);
        CHECK_FALSE(at.app.has_blob(digest_of_text("other"), 5));
    }
}

TEST_CASE("an address that is signed for GET alone is asked with GET", "[repository]") {
    scripted at{{{307, {{"Location", "https://s3.io/x?sig=1"}}},
                 {403},
                 {307, {{"Location", "https://s3.io/x?sig=2"}}},
                 {200, {{"Content-Length", "5"}}}}};
    CHECK(at.app.has_blob(digest_of_text("hello"), 5));
    CHECK(at.over.asked[3] == "GET https://s3.io/x?sig=2");
}

TEST_CASE("a blob is read from any byte on", "[repository]") {
    for (bool const ignores : {false, true})
        for (bool const redirects : {false, true}) {
            on_socket at{{.redirect_blobs = redirects, .ignores_range = ignores}};
            auto const which = digest::parse(at.registry.put_blob("app", "0123456789"));
            auto whole = at.app.get_blob(which, 0);
            CHECK(whole.status == 200);
            CHECK(read_text(whole, 100) == "0123456789");
            CHECK_FALSE(at.last().has_header("Range"));

            auto part = at.app.get_blob(which, 4);
            CHECK(part.status == (ignores ? 200 : 206));
            CHECK(read_text(part, 100) == (ignores ? "0123456789" : "456789"));
            CHECK(at.last().header("Range") == "bytes=4-");
            CHECK(at.last().other_port == redirects);
            CHECK(at.registry.violations().empty());
        }
}

TEST_CASE("another part of a blob than was asked for is none of it", "[repository]") {
    auto const which = digest_of_text("x");
    scripted other{{{206, {{"Content-Range", "bytes 0-5/10"}}}}};
    CHECK(failure_of([&] { return other.app.get_blob(which, 4); }).find("instead of what follows byte 4") !=
          std::string::npos);
    scripted silent{{{206}}};
    CHECK(silent.app.get_blob(which, 4).status == 206); // who reads verifies
    scripted unasked{{{206, {{"Content-Range", "bytes 0-5/10"}}}}};
    CHECK_THROWS_AS(unasked.app.get_blob(which, 0), registry_error);
    scripted beyond{{{416}}};
    CHECK_THROWS_AS(beyond.app.get_blob(which, 4), registry_error);
}

TEST_CASE("what is neither there nor missing is an error with its subject", "[repository]") {
    on_socket at{{.denied_repositories = {"app"}}};
    auto const which = digest_of_text("x");
    auto const name = at.registry.authority() + "/app";
    for (auto const& words : {failure_of([&] { return at.app.has_blob(which, 1); }),
                              failure_of([&] { return at.app.get_blob(which, 0); })}) {
        CHECK(words.find("blob '" + name + "@" + which.text() + "': ") != std::string::npos);
        CHECK(words.find("log in with 'docker login " + at.registry.authority() + "'") != std::string::npos);
    }
    CHECK(failure_of([&] { return at.app.get_manifest("v1"); }).find("'" + name + ":v1': ") !=
          std::string::npos);
    scripted gone{{{404}}};
    CHECK_THROWS_AS(gone.app.get_blob(which, 0), registry_error);
}

// --- redirections ------------------------------------------------------------------------------------------

TEST_CASE("five redirections are followed, and no sixth", "[repository]") {
    reply const on{307, {{"Location", "next"}}};
    for (std::size_t hops = 0; hops <= 7; ++hops) {
        std::vector<reply> answers(hops, on);
        answers.push_back({200, {}, "hello"});
        scripted at{answers};
        auto const get = [&] { return at.app.get_blob(digest_of_text("hello"), 0).status; };
        if (hops <= 5)
            CHECK(get() == 200);
        else
            CHECK(failure_of(get).find("five times, and now again") != std::string::npos);
        CHECK(at.over.asked.size() == std::min<std::size_t>(hops, 5) + 1);
    }
}

TEST_CASE("redirections lead where they may", "[repository]") {
    struct {
        int status;
        fields headers;
        char const* next; ///< asked then; null: an error
    } const cases[] = {
        {301, {{"Location", "https://r.io/x"}}, "GET https://r.io/x"},
        {302, {{"Location", "/x?a=b%2F"}}, "GET https://r.io/x?a=b%2F"},
        {303, {{"Location", "//s3.io/x"}}, "GET https://s3.io/x"},
        {307, {{"Location", "https://r.io:5000/x#part"}}, "GET https://r.io:5000/x"},
        {308, {{"Location", "../y"}}, "GET https://r.io/v2/app/y"},
        {307, {{"Location", "http://r.io/x"}}, nullptr}, // anybody could listen
        {307, {{"Location", "http://s3.io/x"}}, nullptr},
        {307, {{"Location", "file:///etc/passwd"}}, nullptr},
        {307, {{"Location", "gopher://r.io/x"}}, nullptr},
        {307, {{"Location", "unix:/run/docker.sock"}}, nullptr},
        {307, {{"Location", "https://user:secret@s3.io/x"}}, nullptr},
        {307, {{"Location", "/a"}, {"Location", "/b"}}, nullptr},
        {307, {{"Location", "https://[::1/x"}}, nullptr},
        {307, {}, nullptr},
        {300, {{"Location", "/x"}}, nullptr},
        {304, {{"Location", "/x"}}, nullptr},
    };
    for (auto const& [status, headers, next] : cases) {
        CAPTURE(status, headers);
        scripted at{{{status, headers}, {200, {}, "hello"}}};
        auto const words = failure_of([&] { return at.app.get_blob(digest_of_text("hello"), 0); });
        CAPTURE(words);
        CHECK((words == "success") == (next != nullptr));
        CHECK(words.find("secret") == std::string::npos);
        if (next != nullptr) CHECK(at.over.asked.at(1) == next);
        CHECK(at.over.asked.size() == (next != nullptr ? 2 : 1));
    }
}

TEST_CASE("only the registry itself may be at a private address", "[repository]") {
    scripted at{{{307, {{"Location", "https://s3.io/x"}}}, {307, {{"Location", "https://r.io/y"}}}, {200}}};
    (void)at.app.get_blob(digest_of_text("x"), 0);
    REQUIRE(at.over.requests.size() == 3);
    CHECK(at.over.requests[0].addresses == address_rule::any);
    CHECK(at.over.requests[1].addresses == address_rule::public_only);
    CHECK(at.over.requests[2].addresses == address_rule::any);
    for (auto const& one : at.over.requests) CHECK(one.access.registry.text() == "https://r.io");
}

TEST_CASE("credentials reach the registry, and neither its storage nor the place of its uploads",
          "[repository]") {
    using registry_test::quirks;
    for (auto const mode : {auth_mode::basic, auth_mode::bearer}) {
        test_registry registry{
            quirks{.auth = {.mode = mode}, .location = location_form::other_port, .redirect_blobs = true}};
        auto const self = url::parse("http://" + registry.authority() + "/").from();
        authenticated over{curl_transport{{.trusted = {registry.other_authority()}, .user_agent = "test"}},
                           fixed_credentials{self, {.user = "user", .password = secret{"secret"}}}};
        repository app{over, host_of(registry.authority(), false), "app"};
        auto const which = digest::parse(registry.put_blob("app", "hello"));
        auto answer = app.get_blob(which, 0);
        CHECK(read_text(answer, 100) == "hello");

        auto const session = app.start_upload(digest_of_text("more"));
        span_source text{std::string_view{"more"}};
        (void)app.put_upload(session, digest_of_text("more"), http_body{text, 4, 0}, std::chrono::seconds{5});

        std::size_t elsewhere = 0;
        for (auto const& one : registry.requests()) {
            CAPTURE(one.text());
            if (!one.other_port) continue;
            ++elsewhere;
            CHECK_FALSE(one.has_header("Authorization"));
            CHECK_FALSE(one.has_header("Cookie"));
        }
        CHECK(elsewhere == 2);
        CHECK(registry.violations().empty());
    }
}

TEST_CASE("who is not trusted does not lead us to a private address", "[repository]") {
    test_registry registry{{.redirect_blobs = true}};
    curl_transport over;
    repository app{over, host_of(registry.authority(), false), "app"};
    auto const which = digest::parse(registry.put_blob("app", "hello"));
    try {
        (void)app.get_blob(which, 0);
        FAIL("it was led there");
    } catch (transport_error const& failure) {
        CHECK(failure.kind() == transport_failure::forbidden_address);
    }
}

// --- uploads -----------------------------------------------------------------------------------------------

TEST_CASE("an upload goes to the latest place that the registry named", "[repository]") {
    using registry_test::quirks;
    for (auto const& how :
         {quirks{}, quirks{.location = location_form::relative}, quirks{.location = location_form::absolute},
          quirks{.location = location_form::protocol_relative}, quirks{.location = location_form::other_port},
          quirks{.location_state = true}, quirks{.location_digest = true}, quirks{.location_singular = true},
          quirks{.location_fragment = true}, quirks{.location_long = true},
          quirks{.location_state = true,
          .location_digest = true,
          .location_fragment = true,
          .location_long = true}}) {
        on_socket at{how};
        std::string const text = "0123456789";
        span_source source{text};
        auto const which = digest_of_text(text);
        auto session = at.app.start_upload(which);
        CHECK(at.last().text() == "POST /v2/app/blobs/uploads/");
        CHECK(at.last().header("Content-Length") == "0");

        auto answer = at.app.patch_upload(session, http_body{source, 4, 0}, 0);
        CHECK(answer.status == 202);
        CHECK(at.last().header("Content-Range") == "0-3"); // no unit, no total
        CHECK(at.last().header("Content-Type") == "application/octet-stream");
        CHECK(at.last().header("Content-Length") == "4");
        auto progress = at.app.progress_of(session, answer);
        CHECK(progress.received == 4);

        auto const asked = at.app.upload_status(progress.session);
        REQUIRE(asked);
        CHECK(asked->received == 4);

        answer = at.app.patch_upload(asked->session, http_body{source, 6, 4}, 4);
        CHECK(at.last().header("Content-Range") == "4-9");
        session = at.app.progress_of(asked->session, answer).session;
        answer = at.app.put_upload(session, which, std::nullopt, std::chrono::seconds{5});
        CHECK(answer.status == 201);
        CHECK(at.last().header("Content-Length") == "0");
        CHECK(at.registry.blob("app", which.text()) == text);
        CHECK(at.registry.violations() == std::vector<std::string>{});
    }
}

TEST_CASE("an upload without a place, with two, or with a bad one, is refused", "[repository]") {
    struct {
        registry_test::quirks how;
        char const* words;
    } const cases[] = {{{.location = location_form::missing}, "gives no Location"},
                       {{.location = location_form::twice}, "two places"},
                       {{.location = location_form::scheme, .location_scheme = "file"}, "no web address"},
                       {{.location = location_form::scheme, .location_scheme = "gopher"}, "no web address"},
                       {{.location = location_form::scheme, .location_scheme = "unix"}, "no web address"}};
    for (auto const& [how, words] : cases) {
        on_socket at{how};
        CHECK_THAT(failure_of([&] { return at.app.start_upload(digest_of_text("x")); }), contains(words));
        CHECK_FALSE(at.app.mount(digest_of_text("x"), "base").session);
    }
    scripted plain{{{202, {{"Location", "http://r.io/x"}}}}};
    CHECK_THAT(failure_of([&] { return plain.app.start_upload(digest_of_text("x")); }),
               contains("from https to http"));
    scripted user{{{202, {{"Location", "https://me:secret@r.io/x"}}}}};
    auto const words = failure_of([&] { return user.app.start_upload(digest_of_text("x")); });
    CHECK_THAT(words, contains("names a user"));
    CHECK(words.find("secret") == std::string::npos);
}

TEST_CASE("how far an upload got", "[repository]") {
    struct {
        fields headers;
        std::optional<std::uint64_t> received;
    } const cases[] = {
        {{{"Range", "0-99"}}, 100},
        {{{"Range", "bytes=0-99"}}, 100},
        {{{"Range", "0-0"}}, 0}, // one byte or none
        {{{"Range", "0-18446744073709551614"}}, 18446744073709551615U},
        {{{"Range", "0-18446744073709551615"}}, std::nullopt}, // no size
        {{{"Range", "0-99999999999999999999"}}, std::nullopt},
        {{{"Range", "5-99"}}, std::nullopt}, // a part in the middle is nothing to go on from
        {{{"Range", "0-"}}, std::nullopt},
        {{{"Range", "-5"}}, std::nullopt},
        {{{"Range", "x"}}, std::nullopt},
        {{{"Range", ""}}, std::nullopt},
        {{}, std::nullopt},
    };
    upload_session const before{url::parse("https://r.io/u/1?s=1"), 5};
    for (auto const& [headers, received] : cases)
        for (int const status : {200, 202, 204}) {
            CAPTURE(headers);
            scripted at{{{status, headers}}};
            auto const progress = at.app.upload_status(before);
            REQUIRE(progress);
            CHECK(progress->received == received);
            CHECK(progress->session.location.text() == "https://r.io/u/1?s=1"); // no other place was named
            CHECK(progress->session.min_chunk == 5);
        }
    for (int const status : {404, 400, 401, 403, 405, 416}) {
        scripted at{{{status, {{"Range", "0-99"}}}}};
        CHECK_FALSE(at.app.upload_status(before));
    }
    scripted at{{{202, {{"Location", "/u/2"}, {"OCI-Chunk-Min-Length", "1048576"}}}}};
    auto const next = at.app.upload_status(before)->session;
    CHECK(next.location.text() == "https://r.io/u/2");
    CHECK(next.min_chunk == 1048576);
}

TEST_CASE("what belongs to an upload is not repeated, except for questions", "[repository]") {
    scripted at{{{202, {{"Location", "https://up.io/u/1"}}}}};
    auto const which = digest_of_text("x");
    auto const session = at.app.start_upload(which);
    span_source text{std::string_view{"x"}};
    (void)at.app.patch_upload(session, http_body{text, 1, 0}, 0);
    (void)at.app.put_upload(session, which, std::nullopt, std::chrono::minutes{5});
    (void)at.app.upload_status(session);
    at.app.cancel_upload(session);
    (void)at.app.mount(which, "base");
    REQUIRE(at.over.requests.size() == 6);
    bool const repeatable[] = {true, false, false, true, false, false};
    for (std::size_t i = 0; i < 6; ++i) {
        CAPTURE(at.over.asked[i]);
        CHECK(at.over.requests[i].repeatable == repeatable[i]);
        bool const elsewhere = i >= 1 && i <= 4;
        CHECK(at.over.requests[i].addresses == (elsewhere ? address_rule::public_only : address_rule::any));
        CHECK(at.over.requests[i].access.registry.text() == "https://r.io");
    }
    CHECK(at.over.requests[2].patience == std::chrono::minutes{5}); // registries hash it all
    CHECK_FALSE(at.over.requests[2].body);
    CHECK(at.over.asked[4] == "DELETE https://up.io/u/1");
}

TEST_CASE("sha512 is announced when the upload starts", "[repository]") {
    auto const which = digest::of<sha512>(as_bytes("hello"));
    on_socket at;
    span_source text{std::string_view{"hello"}};
    auto const session = at.app.start_upload(which);
    CHECK(at.last().text() == "POST /v2/app/blobs/uploads/?digest-algorithm=sha512");
    CHECK(at.app.put_upload(session, which, http_body{text, 5, 0}, std::chrono::seconds{5}).status == 201);
    CHECK(at.app.has_blob(which, 5));

    scripted old{{{400}, {202, {{"Location", "/u/1"}}}}};
    CHECK(old.app.start_upload(which).location.text() == "https://r.io/u/1");
    CHECK(old.over.asked ==
          std::vector<std::string>{"POST https://r.io/v2/app/blobs/uploads/?digest-algorithm=sha512",
                                   "POST https://r.io/v2/app/blobs/uploads/"});
    scripted never{{{400}}};
    CHECK_THROWS_AS(never.app.start_upload(which), registry_error);
    CHECK(never.over.asked.size() == 2);
    scripted plain{{{400}}};
    CHECK_THROWS_AS(plain.app.start_upload(digest_of_text("x")), registry_error);
    CHECK(plain.over.asked.size() == 1);
}

TEST_CASE("a mount takes a blob over, gives an upload, or nothing", "[repository]") {
    on_socket at;
    auto const which = digest::parse(at.registry.put_blob("base/image", "hello"));
    CHECK(at.app.mount(which, "base/image").mounted);
    CHECK(at.registry.has_blob("app", which.text()));
    auto const asked = at.last();
    CHECK(asked.kind == request_kind::mount);
    CHECK(asked.query == registry_test::field_list{{"mount", which.text()}, {"from", "base/image"}});
    auto const session = at.app.mount(digest_of_text("other"), "base/image");
    CHECK_FALSE(session.mounted);
    CHECK(session.session);
    CHECK(at.registry.violations().empty());

    for (auto const how :
         {mount_answer::unauthorized, mount_answer::forbidden, mount_answer::not_found,
          mount_answer::not_allowed, mount_answer::bad_request, mount_answer::server_error}) {
        on_socket refusing{{.mount = how}};
        auto const nothing = refusing.app.mount(which, "base");
        CHECK_FALSE(nothing.mounted);
        CHECK_FALSE(nothing.session);
    }
    scripted scopes{{{404}}};
    (void)scopes.app.mount(which, "base");
    (void)scopes.app.mount(which, "");
    CHECK(scopes.over.requests[0].access.scopes ==
          std::vector<std::string>{"repository:app:pull,push", "repository:base:pull"});
    CHECK(scopes.over.requests[1].access.scopes == std::vector<std::string>{"repository:app:pull,push"});
    CHECK(scopes.over.asked[1].find("from=") == std::string::npos);
}

// --- manifests ---------------------------------------------------------------------------------------------

TEST_CASE("a manifest is put with its media type, and found by tag and digest", "[repository]") {
    on_socket at;
    at.registry.put_blob("app", "{}");
    auto const which = digest_of_text(manifest);
    CHECK_FALSE(at.app.find_manifest("v1"));
    CHECK_FALSE(at.app.get_manifest("v1"));
    for (auto const& name : {which.text(), std::string{"v1"}}) {
        CHECK(at.app.put_manifest(name, oci_manifest, manifest).status == 201);
        CHECK(at.last().text() == "PUT /v2/app/manifests/" + name);
        CHECK(at.last().header("Content-Type") == oci_manifest);
        CHECK(at.last().header("Content-Length") == std::to_string(manifest.size()));

        auto const found = at.app.find_manifest(name);
        REQUIRE(found);
        CHECK(found->digest == which);
        CHECK(at.last().method == "HEAD");
        auto const document = at.app.get_manifest(name);
        REQUIRE(document);
        CHECK(document->text == manifest);
        CHECK(document->what == descriptor{oci_manifest, which, manifest.size()});
        for (auto const type : {oci_media_types::index, oci_media_types::manifest, docker_media_types::index,
                                docker_media_types::manifest})
            CHECK_THAT(at.last().header("Accept"), contains(std::string{type}));
    }
    CHECK(at.registry.tag("app", "v1") == which.text());
}

TEST_CASE("what the registry says about digests is no more than a hint", "[repository]") {
    auto const which = digest_of_text(manifest);
    struct {
        digest_header how;
        bool told;
    } const cases[] = {{digest_header::right, true}, {digest_header::absent, false}};
    for (auto const& [how, told] : cases) {
        on_socket at{{.digest_headers = how}};
        at.registry.set_tag("app", "v1", at.registry.put_manifest("app", manifest));
        CHECK(at.app.find_manifest("v1")->digest.has_value() == told);
        CHECK(at.app.get_manifest("v1")->what.digest == which);
    }
    for (auto const how : {digest_header::other_algorithm, digest_header::wrong}) {
        on_socket at{{.digest_headers = how}};
        at.registry.set_tag("app", "v1", at.registry.put_manifest("app", manifest));
        CHECK(at.app.find_manifest("v1"));
        CHECK(at.app.get_manifest("v1")->what.digest == which); // of the bytes
    }
    for (auto const* const broken : {"", "sha256:", "sha256:xyz", "md5:0", "junk"}) {
        scripted at{{{200, {{"Docker-Content-Digest", broken}}}}};
        CHECK_FALSE(at.app.find_manifest("v1")->digest);
    }
}

TEST_CASE("registries that know no HEAD of manifests are asked with GET", "[repository]") {
    on_socket at{{.head_manifest_status = 405}};
    at.registry.set_tag("app", "v1", at.registry.put_manifest("app", manifest));
    CHECK(at.app.find_manifest("v1")->digest == digest_of_text(manifest));
    CHECK_FALSE(at.app.find_manifest("v2"));
}

TEST_CASE("bytes that are not those of the digest are refused", "[repository]") {
    scripted at{{{200, {{"Content-Type", oci_manifest}}, manifest}}};
    CHECK_NOTHROW(at.app.get_manifest(digest_of_text(manifest).text()));
    CHECK_NOTHROW(at.app.get_manifest(digest::of<sha512>(as_bytes(manifest)).text()));
    CHECK_THROWS_AS(at.app.get_manifest(digest_of_text("other").text()), digest_mismatch);
}

TEST_CASE("a name that is neither tag nor digest is asked of nobody", "[repository]") {
    scripted at{{{200}}};
    for (auto const* const name :
         {"", "../../other/manifests/v1", "a b", "a?b", "a#b", "sha256:x", "a:b", ".x"}) {
        CAPTURE(name);
        CHECK_THROWS_AS(at.app.find_manifest(name), format_error);
        CHECK_THROWS_AS(at.app.get_manifest(name), format_error);
        CHECK_THROWS_AS(at.app.put_manifest(name, oci_manifest, manifest), format_error);
    }
    CHECK(at.over.asked.empty());
}

TEST_CASE("insecure: https is tried first, then http, and what answered is remembered", "[repository]") {
    test_registry registry;
    curl_transport over;
    repository app{over, host_of(registry.authority(), true), "app"};
    CHECK(app.registry().text() == "http://" + registry.authority());
    (void)app.has_blob(digest_of_text("x"), 1);
    (void)app.has_blob(digest_of_text("y"), 1);
    CHECK(registry.count(request_kind::ping) == 1);
    CHECK(registry.count(request_kind::head_blob) == 2);
    CHECK(app.access_for("pull").insecure);
}

TEST_CASE("a manifest that is cut on its way is fetched again", "[repository]") {
    for (auto const& cut : {cut_reply{}, cut_reply{.chunked = true}}) {
        test_registry registry;
        registry.set_tag("app", "v1", registry.put_manifest("app", manifest));
        registry.fail({.on = request_kind::get_manifest, .times = 2, .with = cut});
        retrying over{curl_transport{}, {.first_pause = std::chrono::milliseconds{2}}};
        repository app{over, host_of(registry.authority(), false), "app"};
        CHECK(app.get_manifest("v1")->text == manifest);
        CHECK(registry.count(request_kind::get_manifest) == 3);

        curl_transport plain; // does not repeat anything
        registry.fail({.on = request_kind::get_manifest, .with = cut});
        repository once{plain, host_of(registry.authority(), false), "app"};
        CHECK_THROWS_AS(once.get_manifest("v1"), transport_error);
    }
}
