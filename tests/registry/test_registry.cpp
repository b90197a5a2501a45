// The registry for tests is tested itself, by a client that is nothing but a socket: it can do wrong on purpose.

#include <nlohmann/json.hpp>

#include <array>
#include <chrono>
#include <future>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <support/catch.hpp>
#include <support/test_registry.hpp>
#include <sys/socket.h>
#include <unistd.h>

using registry_test::digest_of;
using registry_test::field_list;

namespace {

struct raw_answer {
    int status = 0; ///< 0: the connection ended before a status came
    field_list headers{};
    std::string body{};
    bool whole = false;
    [[nodiscard]] std::string header(std::string_view name) const {
        auto const* const found = registry_test::find_field(headers, name);
        return found == nullptr ? std::string{} : *found;
    }
};

/// One connection.
class raw_client {
  public:
    explicit raw_client(std::uint16_t port) : fd_{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)} {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(port);
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        if (::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
            throw std::runtime_error{"connect"};
        timeval const patience{.tv_sec = 10, .tv_usec = 0};
        ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    }
    raw_client(raw_client const&) = delete;
    raw_client& operator=(raw_client const&) = delete;
    ~raw_client() { ::close(fd_); }

    void send(std::string_view data) const {
        while (!data.empty()) {
            auto const sent = ::send(fd_, data.data(), data.size(), MSG_NOSIGNAL);
            if (sent <= 0) return;
            data.remove_prefix(static_cast<std::size_t>(sent));
        }
    }
    /// Headers that a correct client has, and those given.
    [[nodiscard]] raw_answer ask(std::string const& method, std::string const& target,
                                 field_list const& headers = {},
                                 std::optional<std::string> const& body = std::nullopt) {
        auto text = method + " " + target + " HTTP/1.1\r\nHost: registry\r\nUser-Agent: raw\r\n";
        for (auto const& [name, value] : headers) text += name + ": " + value + "\r\n";
        if (body) text += "Content-Length: " + std::to_string(body->size()) + "\r\n";
        send(text + "\r\n" + body.value_or(""));
        return receive(method == "HEAD");
    }
    [[nodiscard]] raw_answer receive(bool head = false) {
        raw_answer result;
        auto const status = line();
        if (!status || status->size() < 12) return result;
        result.status = std::stoi(status->substr(9, 3));
        while (auto const header = line()) {
            if (header->empty()) break;
            auto const colon = header->find(':');
            if (colon == std::string::npos) return result;
            result.headers.emplace_back(header->substr(0, colon),
                                        registry_test::trimmed(std::string_view{*header}.substr(colon + 1)));
        }
        auto const length = registry_test::parse_number(result.header("Content-Length")).value_or(0);
        while (!head && result.status >= 200 && pending_.size() < length && more()) {
        }
        result.body = head ? std::string{} : pending_.substr(0, static_cast<std::size_t>(length));
        pending_.erase(0, result.body.size());
        result.whole = head || result.body.size() == length;
        return result;
    }

  private:
    int fd_;
    std::string pending_;

    bool more() {
        std::array<char, 16 * 1024> piece{};
        auto const count = ::recv(fd_, piece.data(), piece.size(), 0);
        if (count > 0) pending_.append(piece.data(), static_cast<std::size_t>(count));
        return count > 0;
    }
    std::optional<std::string> line() {
        while (pending_.find("\r\n") == std::string::npos)
            if (!more()) return std::nullopt;
        auto const end = pending_.find("\r\n");
        auto text = pending_.substr(0, end);
        pending_.erase(0, end + 2);
        return text;
    }
};

std::string const manifest_type = "application/vnd.oci.image.manifest.v1+json";
std::string const config_text = "{}";
std::string const layer_text = "this stands for a layer";

std::string sample_manifest(std::string const& note = "") {
    auto const descriptor = [](std::string const& type, std::string const& content) {
        return nlohmann::json{{"mediaType", type}, {"digest", digest_of(content)}, {"size", content.size()}};
    };
    nlohmann::json document{{"schemaVersion", 2}, {"mediaType", manifest_type}};
    document["config"] = descriptor("application/vnd.oci.image.config.v1+json", config_text);
    document["layers"] =
        nlohmann::json::array({descriptor("application/vnd.oci.image.layer.v1.tar", layer_text)});
    if (!note.empty()) document["annotations"] = {{"note", note}};
    return document.dump();
}

/// Appends to a Location, which may have a query.
std::string with_digest(std::string const& location, std::string const& digest) {
    return location + (location.find('?') == std::string::npos ? "?" : "&") + "digest=" + digest;
}

int push_blob(raw_client& client, std::string const& content, field_list const& headers = {}) {
    auto const started = client.ask("POST", "/v2/app/blobs/uploads/", headers, "");
    if (started.status != 202) return started.status;
    return client.ask("PUT", with_digest(started.header("Location"), digest_of(content)), headers, content)
        .status;
}

int put_manifest(raw_client& client, std::string const& content, std::string const& reference,
                 std::string const& type = manifest_type) {
    return client.ask("PUT", "/v2/app/manifests/" + reference, {{"Content-Type", type}}, content).status;
}

/// All as it should be.
void push_image(raw_client& client) {
    REQUIRE(push_blob(client, config_text) == 201);
    REQUIRE(push_blob(client, layer_text) == 201);
    REQUIRE(put_manifest(client, sample_manifest(), digest_of(sample_manifest())) == 201);
    REQUIRE(put_manifest(client, sample_manifest(), "latest") == 201);
}

/// That there is exactly one sentence, with this in it.
void require_violation(test_registry const& registry, std::string const& part) {
    auto const found = registry.violations();
    CAPTURE(found);
    REQUIRE(found.size() == 1);
    REQUIRE_THAT(found.front(), contains(part));
}

} // namespace

TEST_CASE("a correct push leaves no violation", "[test_registry]") {
    test_registry registry;
    raw_client client{registry.port()};
    CHECK(client.ask("GET", "/v2/").status == 200);
    CHECK(client.ask("HEAD", "/v2/app/blobs/" + digest_of(layer_text)).status == 404);
    push_image(client);
    auto const got = client.ask("GET", "/v2/app/manifests/latest");
    CHECK(got.body == sample_manifest());
    CHECK(got.header("Content-Type") == manifest_type);
    CHECK(got.header("Docker-Content-Digest") == digest_of(sample_manifest()));
    CHECK(registry.tag("app", "latest") == digest_of(sample_manifest()));
    CHECK(registry.blob("app", digest_of(layer_text)) == layer_text);
    CHECK(registry.count(request_kind::put_manifest, 201) == 2);
    CHECK(registry.count_tag_puts() == 1);
    CHECK(registry.bytes_uploaded() == config_text.size() + layer_text.size());
    CHECK(registry.connections() == 1);
    CHECK(registry.open_uploads() == 0);
    REQUIRE(registry.violations().empty());
}

TEST_CASE("chunks, and the questions about them", "[test_registry]") {
    test_registry registry{{.location_state = true}};
    raw_client client{registry.port()};
    auto now = client.ask("POST", "/v2/app/blobs/uploads/", {}, "");
    CHECK(now.header("Range") == "0-0");
    now = client.ask("PATCH", now.header("Location"), {{"Content-Range", "0-9"}}, layer_text.substr(0, 10));
    CHECK(now.status == 202);
    CHECK(now.header("Range") == "0-9");
    now = client.ask("GET", now.header("Location"));
    CHECK(now.status == 204);
    CHECK(now.header("Range") == "0-9");

    SECTION("to the end") {
        auto const rest = "10-" + std::to_string(layer_text.size() - 1);
        now = client.ask("PATCH", now.header("Location"), {{"Content-Range", rest}}, layer_text.substr(10));
        now = client.ask("PUT", with_digest(now.header("Location"), digest_of(layer_text)), {}, "");
        CHECK(now.status == 201);
        CHECK(registry.blob("app", digest_of(layer_text)) == layer_text);
        CHECK(registry.violations().empty());
    }
    SECTION("the rest with the closing PUT") {
        auto const rest = "10-" + std::to_string(layer_text.size() - 1);
        now = client.ask("PUT", with_digest(now.header("Location"), digest_of(layer_text)),
                         {{"Content-Range", rest}}, layer_text.substr(10));
        CHECK(now.status == 201);
        CHECK(registry.violations().empty());
    }
    SECTION("from a wrong place") {
        now = client.ask("PATCH", now.header("Location"), {{"Content-Range", "12-12"}}, "x");
        CHECK(now.status == 416);
        CHECK(now.header("Range") == "0-9");
        require_violation(registry, "starts at 12, but was told 10");
    }
    SECTION("a unit in Content-Range") {
        CHECK(client.ask("PATCH", now.header("Location"), {{"Content-Range", "bytes 10-10/*"}}, "x").status ==
              400);
        require_violation(registry, "is not FIRST-LAST");
    }
    SECTION("an old Location") {
        auto const old = now.header("Location");
        now = client.ask("GET", old);
        CHECK(client.ask("GET", old).status == 400);
        require_violation(registry, "is not the latest Location");
    }
    SECTION("without Content-Range") {
        CHECK(client.ask("PATCH", now.header("Location"), {}, "x").status == 202);
        require_violation(registry, "Content-Range is missing");
    }
    SECTION("all over again") {
        now = client.ask("PUT", with_digest(now.header("Location"), digest_of(layer_text)), {}, layer_text);
        CHECK(now.status == 416);
        require_violation(registry, "has 10 bytes already");
    }
    SECTION("cancelled") {
        CHECK(client.ask("DELETE", now.header("Location"), {}, "").status == 204);
        CHECK(registry.open_uploads() == 0);
    }
}

TEST_CASE("a body that is cut stays as far as it came", "[test_registry]") {
    auto const reset = GENERATE(true, false);
    auto const keeps = GENERATE(true, false);
    auto const whole = GENERATE(true, false); // of what the registry does with the content
    test_registry registry{{.keep_partial_bodies = keeps, .keep_content = whole}};
    auto const at = std::uint64_t{7};
    registry.fail(
        {.on = request_kind::patch_upload, .with = drop_connection{.after_body_bytes = at, .reset = reset}});
    raw_client first{registry.port()};
    auto const location = first.ask("POST", "/v2/app/blobs/uploads/", {}, "").header("Location");
    auto const all = "0-" + std::to_string(layer_text.size() - 1);
    CHECK(first.ask("PATCH", location, {{"Content-Range", all}}, layer_text).status == 0);

    raw_client second{registry.port()};
    auto const asked = second.ask("GET", location);
    CHECK(asked.header("Range") == (keeps ? "0-6" : "0-0"));
    auto const start = keeps ? std::size_t{7} : std::size_t{0};
    auto const rest = std::to_string(start) + "-" + std::to_string(layer_text.size() - 1);
    CHECK(second.ask("PATCH", location, {{"Content-Range", rest}}, layer_text.substr(start)).status == 202);
    CHECK(second.ask("PUT", with_digest(location, digest_of(layer_text)), {}, "").status == 201);
    CHECK(registry.has_blob("app", digest_of(layer_text)));
    CHECK(registry.blob_size("app", digest_of(layer_text)) == layer_text.size());
    CHECK(registry.requests().at(1).body_bytes == at);
    CHECK_FALSE(registry.requests().at(1).complete);
    CHECK(registry.violations().empty());
}

TEST_CASE("a client that does not ask after a break is told on", "[test_registry]") {
    test_registry registry;
    registry.fail({.on = request_kind::patch_upload, .with = drop_connection{.after_body_bytes = 7}});
    raw_client first{registry.port()};
    auto const location = first.ask("POST", "/v2/app/blobs/uploads/", {}, "").header("Location");
    CHECK(first.ask("PATCH", location, {{"Content-Range", "0-9"}}, layer_text.substr(0, 10)).status == 0);
    raw_client second{registry.port()};
    CHECK(second.ask("PATCH", location, {{"Content-Range", "0-9"}}, layer_text.substr(0, 10)).status == 416);
    require_violation(registry, "without having asked");
}

TEST_CASE("faults", "[test_registry]") {
    test_registry registry;
    auto const digest = digest_of(layer_text);
    registry.put_blob("app", layer_text);
    auto const blob_path = "/v2/app/blobs/" + digest;

    SECTION("an answer, some times") {
        registry.fail(
            {.on = request_kind::get_blob, .nth = 2, .with = answer{429, {{"Retry-After", "1"}}, "slow"}});
        raw_client client{registry.port()};
        CHECK(client.ask("GET", blob_path).status == 200);
        auto const limited = client.ask("GET", blob_path);
        CHECK(limited.status == 429);
        CHECK(limited.header("Retry-After") == "1");
        CHECK(limited.body == "slow");
        CHECK(client.ask("GET", blob_path).status == 200);
        CHECK(registry.connections() == 1);
    }
    SECTION("the n-th request") {
        registry.fail_request(2, answer{503});
        raw_client client{registry.port()};
        CHECK(client.ask("GET", "/v2/").status == 200);
        CHECK(client.ask("GET", blob_path).status == 503);
        CHECK(client.ask("GET", "/v2/").status == 200);
    }
    SECTION("done, but not said") {
        registry.fail({.on = request_kind::put_upload, .with = lost_reply{}});
        raw_client client{registry.port()};
        CHECK(push_blob(client, config_text) == 0);
        CHECK(registry.has_blob("app", digest_of(config_text)));
        CHECK(registry.requests().back().status == 201);
        CHECK_FALSE(registry.requests().back().delivered);
    }
    SECTION("cut answers") {
        registry.fail({.on = request_kind::get_blob, .with = cut_reply{.missing = 5}});
        raw_client client{registry.port()};
        auto const cut = client.ask("GET", blob_path);
        CHECK(cut.body == layer_text.substr(0, layer_text.size() - 5));
        CHECK_FALSE(cut.whole);
    }
    SECTION("dropped after the whole body, not committed") {
        registry.fail({.on = request_kind::put_upload, .with = drop_connection{.after_body_bytes = 1000}});
        raw_client client{registry.port()};
        CHECK(push_blob(client, config_text) == 0);
        CHECK_FALSE(registry.has_blob("app", digest_of(config_text)));
        CHECK(registry.open_uploads() == 1);
    }
    SECTION("closed after the answer") {
        registry.fail({.on = request_kind::ping, .with = hang_up_after{}});
        raw_client client{registry.port()};
        auto const last = client.ask("GET", "/v2/");
        CHECK(last.status == 200);
        CHECK(last.header("Connection").empty());
        CHECK(client.ask("GET", "/v2/").status == 0);
    }
    SECTION("the test steps in") {
        registry.fail(
            {.on = request_kind::head_blob, .with = call{[&] { registry.delete_blob("app", digest); }}});
        raw_client client{registry.port()};
        CHECK(client.ask("HEAD", blob_path).status == 404);
    }
    SECTION("a test that throws is answered for") {
        registry.fail({.on = request_kind::ping, .with = call{[] { throw std::runtime_error{"not now"}; }}});
        raw_client client{registry.port()};
        CHECK(client.ask("GET", "/v2/").status == 500);
        CHECK(client.ask("GET", "/v2/").status == 200);
    }
    SECTION("silence ends with the registry") {
        registry.fail({.on = request_kind::ping, .with = stall{}});
        raw_client client{registry.port()};
        auto later = std::async(std::launch::async, [&] { return client.ask("GET", "/v2/").status; });
        CHECK(registry.wait_for(request_kind::ping));
        registry.stop();
        CHECK(later.get() == 0);
    }
}

TEST_CASE("manifests need what they name", "[test_registry]") {
    test_registry registry;
    raw_client client{registry.port()};
    auto const digest = digest_of(sample_manifest());

    SECTION("not there") {
        auto const refused = client.ask("PUT", "/v2/app/manifests/" + digest,
                                        {{"Content-Type", manifest_type}}, sample_manifest());
        CHECK(refused.status == 404);
        CHECK_THAT(refused.body, contains("MANIFEST_BLOB_UNKNOWN"));
        CHECK(registry.violations().size() == 2);
    }
    SECTION("there, but the client cannot know") {
        registry.put_blob("app", config_text);
        registry.put_blob("app", layer_text);
        CHECK(put_manifest(client, sample_manifest(), digest) == 201);
        CHECK(registry.violations().size() == 2);
    }
    SECTION("tag first") {
        CHECK(push_blob(client, config_text) == 201);
        CHECK(push_blob(client, layer_text) == 201);
        CHECK(put_manifest(client, sample_manifest(), "latest") == 201);
        require_violation(registry, "before the manifest");
    }
    SECTION("after the tag") {
        push_image(client);
        CHECK(push_blob(client, "more") == 201);
        CHECK(registry.violations().size() == 2);
        registry.reset();
        CHECK(push_blob(client, "yet more") == 201);
        CHECK(registry.violations().empty());
    }
    SECTION("wrong type") {
        CHECK(push_blob(client, config_text) == 201);
        CHECK(push_blob(client, layer_text) == 201);
        CHECK(put_manifest(client, sample_manifest(), digest, "application/json") == 400);
        require_violation(registry, "Content-Type application/json is not the mediaType");
    }
    SECTION("wrong digest") {
        CHECK(put_manifest(client, sample_manifest("other"), digest) == 400);
        require_violation(registry, "the digest of the manifest is");
    }
    SECTION("eventually") {
        registry.change([](auto& how) { how.blob_unknown_times = 1; });
        CHECK(push_blob(client, config_text) == 201);
        CHECK(push_blob(client, layer_text) == 201);
        CHECK(put_manifest(client, sample_manifest(), digest) == 404);
        CHECK(put_manifest(client, sample_manifest(), digest) == 201);
        CHECK(registry.violations().empty());
    }
    SECTION("lost") {
        registry.change([](auto& how) { how.loses_blobs = 1; });
        CHECK(push_blob(client, config_text) == 201);
        CHECK(push_blob(client, layer_text) == 201);
        CHECK(put_manifest(client, sample_manifest(), digest) == 404);
        CHECK_FALSE(registry.has_blob("app", digest_of(layer_text)));
        CHECK(push_blob(client, layer_text) == 201);
        CHECK(put_manifest(client, sample_manifest(), digest) == 201);
        CHECK(registry.violations().empty());
    }
}

TEST_CASE("what no client sends", "[test_registry]") {
    test_registry registry;
    raw_client client{registry.port()};
    SECTION("no User-Agent") {
        client.send("GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n");
        CHECK(client.receive().status == 200);
        require_violation(registry, "User-Agent is missing");
    }
    SECTION("no length") {
        CHECK(client.ask("POST", "/v2/app/blobs/uploads/").status == 202);
        require_violation(registry, "Content-Length is missing");
    }
    SECTION("in chunks") {
        auto const location = client.ask("POST", "/v2/app/blobs/uploads/", {}, "").header("Location");
        client.send("PUT " + with_digest(location, digest_of("hello")) +
                    " HTTP/1.1\r\nHost: x\r\nUser-Agent: raw\r\nTransfer-Encoding: chunked\r\n\r\n"
                    "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n");
        CHECK(client.receive().status == 201);
        require_violation(registry, "the body comes in chunks");
    }
    SECTION("a cookie") {
        CHECK(client.ask("GET", "/v2/", {{"Cookie", "sid=1"}}).status == 200);
        require_violation(registry, "a cookie came back");
    }
    SECTION("a line that is no header") {
        CHECK(client.ask("GET", "/v2/", {{"X Y", "1"}}).status == 200);
        require_violation(registry, "a header line that is none");
    }
    SECTION("a fragment") {
        CHECK(client.ask("GET", "/v2/#part").status == 404);
        require_violation(registry, "a fragment");
    }
}

TEST_CASE("Basic", "[test_registry]") {
    test_registry registry{{.auth = {.mode = auth_mode::basic, .user = "me", .password = "a:b"}}};
    raw_client client{registry.port()};
    auto const refused = client.ask("GET", "/v2/");
    CHECK(refused.status == 401);
    CHECK_THAT(refused.header("WWW-Authenticate"), contains("Basic realm="));
    CHECK(client.ask("GET", "/v2/", {{"Authorization", "Basic bWU6YTpi"}}).status == 200);
    CHECK(client.ask("GET", "/v2/", {{"Authorization", "Basic bWU6YTpj"}}).status == 401);
    REQUIRE(registry.violations().empty());
}

TEST_CASE("Bearer", "[test_registry]") {
    test_registry registry{{.auth = {.mode = auth_mode::bearer, .names = token_names::both}}};
    raw_client client{registry.port()};
    field_list const basic{{"Authorization", "Basic dXNlcjpzZWNyZXQ="}};
    auto const challenge = client.ask("POST", "/v2/app/blobs/uploads/", {}, "").header("WWW-Authenticate");
    CHECK(challenge == "Bearer realm=\"http://" + registry.authority() +
                           "/token\",service=\"test-registry\",scope=\"repository:app:pull,push\"");
    auto const token_for = [&](std::string const& scope) {
        auto const got = client.ask("GET", "/token?service=test-registry&scope=" + scope, basic);
        REQUIRE(got.status == 200);
        auto const document = nlohmann::json::parse(got.body);
        CHECK(document.at("token") == document.at("access_token"));
        return field_list{{"Authorization", "Bearer " + document.at("token").get<std::string>()}};
    };
    SECTION("goes") {
        auto const bearer = token_for("repository:app:pull,push");
        CHECK(push_blob(client, layer_text, bearer) == 201);
        registry.revoke_tokens();
        auto const again = client.ask("HEAD", "/v2/app/blobs/" + digest_of(layer_text), bearer);
        CHECK(again.status == 401);
        CHECK_THAT(again.header("WWW-Authenticate"), contains("error=\"invalid_token\""));
        CHECK(registry.token_requests() == 1);
        CHECK(registry.violations().empty());
    }
    SECTION("not enough") {
        CHECK(push_blob(client, layer_text, token_for("repository:app:pull")) == 401);
    }
    SECTION("a mount needs its source as well") {
        registry.put_blob("base", layer_text);
        auto const target = "/v2/app/blobs/uploads/?mount=" + digest_of(layer_text) + "&from=base";
        auto const refused = client.ask("POST", target, token_for("repository:app:pull,push"), "");
        CHECK(refused.status == 401);
        CHECK_THAT(refused.header("WWW-Authenticate"), contains("repository:base:pull"));
        auto const both = token_for("repository:app:pull,push&scope=repository:base:pull");
        CHECK(client.ask("POST", target, both, "").status == 201);
        CHECK(registry.has_blob("app", digest_of(layer_text)));
    }
    SECTION("they end") {
        registry.change([](auto& how) { how.auth.lifetime = std::chrono::milliseconds{1}; });
        auto const bearer = token_for("repository:app:pull");
        std::this_thread::sleep_for(std::chrono::milliseconds{5});
        CHECK(client.ask("GET", "/v2/", bearer).status == 401);
    }
    SECTION("OAuth2") {
        auto const form = [&](std::string const& text) {
            return client.ask("POST", "/token", {{"Content-Type", "application/x-www-form-urlencoded"}},
                              "service=test-registry&client_id=raw&scope=repository%3Aapp%3Apull&" + text);
        };
        CHECK(form("grant_type=refresh_token&refresh_token=refresh-me").status == 200);
        CHECK(form("grant_type=refresh_token&refresh_token=other").status == 401);
        CHECK(form("grant_type=password&username=user&password=secret").status == 200);
        CHECK(registry.violations().empty());
    }
    SECTION("a stranger's token") {
        CHECK(client.ask("GET", "/v2/", {{"Authorization", "Bearer elsewhere"}}).status == 401);
        require_violation(registry, "not issued here");
    }
    SECTION("a wrong service") {
        CHECK(client.ask("GET", "/token?service=other", basic).status == 400);
        require_violation(registry, "the service is not the one");
    }
}

TEST_CASE("another origin gets no credentials", "[test_registry]") {
    test_registry registry{{.location = location_form::other_port}};
    raw_client client{registry.port()};
    auto const location = client.ask("POST", "/v2/app/blobs/uploads/", {}, "").header("Location");
    auto const prefix = "http://" + registry.other_authority();
    REQUIRE(location.starts_with(prefix));
    raw_client other{static_cast<std::uint16_t>(std::stoi(location.substr(location.find(':', 7) + 1, 5)))};
    auto const target = with_digest(location.substr(prefix.size()), digest_of(layer_text));
    SECTION("and none came") {
        CHECK(other.ask("PUT", target, {}, layer_text).status == 201);
        CHECK(registry.violations().empty());
        CHECK(registry.requests().back().other_port);
    }
    SECTION("but they came") {
        CHECK(other.ask("PUT", target, {{"Authorization", "Basic eDp5"}}, layer_text).status == 201);
        require_violation(registry, "Authorization reached another origin");
    }
}

TEST_CASE("quirks of uploads", "[test_registry]") {
    test_registry registry;
    raw_client client{registry.port()};
    auto const start = [&] { return client.ask("POST", "/v2/app/blobs/uploads/", {}, ""); };
    auto const patch = [&](raw_answer const& to, std::size_t from, std::size_t to_end) {
        auto const range = std::to_string(from) + "-" + std::to_string(to_end - 1);
        return client.ask("PATCH", to.header("Location"), {{"Content-Range", range}},
                          layer_text.substr(from, to_end - from));
    };
    SECTION("a stuck range") {
        registry.change([](auto& how) {
            how.stuck = stuck_range::discards;
            how.patch_answers_created = true;
        });
        auto now = patch(start(), 0, 5);
        CHECK(now.status == 201);
        CHECK(now.header("Range") == "0-4");
        now = patch(now, 5, 10);
        CHECK(now.header("Range") == "0-4");
        now = client.ask("PUT", with_digest(now.header("Location"), digest_of(layer_text.substr(0, 10))), {},
                         "");
        CHECK(now.status == 400);
        CHECK(registry.violations().empty());
    }
    SECTION("behind") {
        registry.change([](auto& how) { how.range_behind_by = 3; });
        auto now = patch(start(), 0, 10);
        CHECK(now.header("Range") == "0-6");
        now = patch(now, 7, layer_text.size());
        CHECK(client.ask("PUT", with_digest(now.header("Location"), digest_of(layer_text)), {}, "").status ==
              201);
        CHECK(registry.violations().empty());
    }
    SECTION("ahead") {
        registry.change([](auto& how) { how.range_ahead_by = 3; });
        CHECK(patch(start(), 0, 10).header("Range") == "0-12");
    }
    SECTION("short chunks") {
        registry.change([](auto& how) { how.chunk_min_length = 8; });
        auto now = start();
        CHECK(now.header("OCI-Chunk-Min-Length") == "8");
        now = patch(now, 0, 8);
        now = patch(now, 8, 10);
        CHECK(registry.violations().empty());
        now = patch(now, 10, 12);
        require_violation(registry, "follows a chunk below");
    }
    SECTION("too large, answered early") {
        registry.change([](auto& how) { how.max_body = 1024 * 1024; });
        auto const location = start().header("Location");
        std::string const large(std::size_t{8} << 20U, 'x');
        auto const refused = client.ask("PUT", with_digest(location, digest_of("")), {}, large);
        CHECK(refused.status == 413);
        CHECK(refused.header("Connection") == "close");
        CHECK(registry.requests().back().body_bytes == 0);
    }
    SECTION("leave is waited for") {
        auto const location = start().header("Location");
        client.send(
            "PUT " + with_digest(location, digest_of("hello")) +
            " HTTP/1.1\r\nHost: x\r\nUser-Agent: raw\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
        CHECK(client.receive().status == 100);
        client.send("hello");
        CHECK(client.receive().status == 201);
    }
    SECTION("mounts") {
        registry.put_blob("base", layer_text);
        auto const target = "/v2/app/blobs/uploads/?mount=" + digest_of(layer_text);
        CHECK(client.ask("POST", target + "&from=none", {}, "").status == 202);
        registry.change([](auto& how) { how.mount_needs_from = true; });
        CHECK(client.ask("POST", target, {}, "").status == 400);
        CHECK(client.ask("POST", target + "&from=base", {}, "").status == 201);
        registry.change([](auto& how) { how.mount = mount_answer::not_allowed; });
        CHECK(client.ask("POST", target + "&from=base", {}, "").status == 405);
    }
    SECTION("SHA-512, hashed while it passes") {
        registry.change([](auto& how) { how.keep_content = false; });
        auto const digest = digest_of(layer_text, "sha512");
        auto const location =
            client.ask("POST", "/v2/app/blobs/uploads/?digest-algorithm=sha512", {}, "").header("Location");
        CHECK(client.ask("PUT", with_digest(location, digest), {}, layer_text).status == 201);
        CHECK(registry.has_blob("app", digest));
        CHECK(registry.blob("app", digest) == "");
    }
    SECTION("one POST") {
        auto const target = "/v2/app/blobs/uploads/?digest=" + digest_of(layer_text);
        CHECK(client.ask("POST", target, {}, layer_text).status == 201);
        registry.change([](auto& how) { how.single_post = false; });
        CHECK(client.ask("POST", target, {}, layer_text).status == 202);
    }
}

TEST_CASE("reading", "[test_registry]") {
    test_registry registry;
    auto const digest = registry.put_blob("app", "0123456789");
    auto const path = "/v2/app/blobs/" + digest;
    raw_client client{registry.port()};
    CHECK(client.ask("HEAD", path).header("Content-Length") == "10");
    auto const part = client.ask("GET", path, {{"Range", "bytes=7-"}});
    CHECK(part.status == 206);
    CHECK(part.body == "789");
    CHECK(part.header("Content-Range") == "bytes 7-9/10");
    CHECK(client.ask("GET", path, {{"Range", "bytes=-2"}}).body == "89");
    CHECK(client.ask("GET", path, {{"Range", "bytes=10-"}}).status == 416);

    registry.put_blob("app", config_text);
    registry.put_blob("app", layer_text);
    for (auto const* const tag : {"a", "b", "c"})
        registry.set_tag("app", tag, registry.put_manifest("app", sample_manifest(tag)));
    CHECK(registry.media_type("app", "b") == manifest_type);
    auto const tags = client.ask("GET", "/v2/app/tags/list?n=2");
    CHECK(nlohmann::json::parse(tags.body).at("tags") == nlohmann::json::array({"a", "b"}));
    CHECK(tags.header("Link") == "</v2/app/tags/list?n=2&last=b>; rel=\"next\"");
    auto const rest = client.ask("GET", "/v2/app/tags/list?n=2&last=b");
    CHECK(nlohmann::json::parse(rest.body).at("tags") == nlohmann::json::array({"c"}));
    CHECK(rest.header("Link").empty());

    registry.change([](auto& how) {
        how.truncated_blobs = true;
        how.digest_headers = digest_header::wrong;
        how.head_manifest_status = 405;
    });
    CHECK(client.ask("HEAD", "/v2/app/manifests/a").status == 405);
    auto const cut = client.ask("GET", path);
    CHECK(cut.body == "01234");
    CHECK_FALSE(cut.whole);
    CHECK(cut.header("Docker-Content-Digest") != digest);
}

TEST_CASE("referrers", "[test_registry]") {
    test_registry registry;
    registry.put_blob("app", config_text);
    registry.put_blob("app", layer_text);
    auto const subject = registry.put_manifest("app", sample_manifest());
    auto about = nlohmann::json::parse(sample_manifest());
    about["subject"] = {{"mediaType", manifest_type}, {"digest", subject}, {"size", 1}};
    about["artifactType"] = "application/x-note";
    auto const digest = registry.put_manifest("app", about.dump());
    raw_client client{registry.port()};
    auto const all = client.ask("GET", "/v2/app/referrers/" + subject);
    auto const found = nlohmann::json::parse(all.body).at("manifests");
    REQUIRE(found.size() == 1);
    CHECK(found[0].at("digest") == digest);
    CHECK(found[0].at("artifactType") == "application/x-note");
    auto const none = client.ask("GET", "/v2/app/referrers/" + subject + "?artifactType=application/x-other");
    CHECK(nlohmann::json::parse(none.body).at("manifests").empty());
    CHECK(none.header("OCI-Filters-Applied") == "artifactType");
    registry.change([](auto& how) { how.referrers = false; });
    CHECK(client.ask("GET", "/v2/app/referrers/" + subject).status == 404);
}

TEST_CASE("many clients at once, and an end in the middle of it", "[test_registry]") {
    std::vector<std::thread> threads;
    {
        test_registry registry{{.read_bytes_per_second = 200'000, .keep_content = false},
                               {.max_transfers = 1}};
        for (auto i = 0; i < 8; ++i)
            threads.emplace_back([port = registry.port()] {
                raw_client client{port};
                std::string const content(std::size_t{1} << 20U, 'x');
                while (push_blob(client, content) == 201) {
                }
            });
        CHECK(registry.wait_for(request_kind::put_upload, 8));
        CHECK_FALSE(registry.violations().empty());
    }
    for (auto& thread : threads) thread.join();
}

TEST_CASE("errors look as the switch wants them", "[test_registry]") {
    test_registry registry;
    raw_client client{registry.port()};
    auto const path = "/v2/app/blobs/" + digest_of("nothing");
    auto const plain = client.ask("GET", path);
    CHECK(nlohmann::json::parse(plain.body) ==
          nlohmann::json::parse(
              R"({"errors":[{"code":"BLOB_UNKNOWN","message":"blob unknown to registry","detail":)"
              R"({"digest":")" +
              digest_of("nothing") + R"("}}]})"));
    auto const body = [&](error_form form) {
        registry.change([&](auto& how) { how.errors = form; });
        return client.ask("GET", path).body;
    };
    CHECK_THAT(body(error_form::html), contains("<html>"));
    CHECK(body(error_form::empty).empty());
    CHECK(body(error_form::huge).size() > std::size_t{8} << 20U);
    CHECK_THAT(body(error_form::escapes), contains("\x1b[2J"));
    REQUIRE(registry.violations().empty());
}

TEST_CASE("ports are filled into what a test writes", "[test_registry]") {
    test_registry registry{{.auth = {.mode = auth_mode::bearer},
                            .challenges = {"Basic realm=\"x\"", "Bearer realm=\"http://{other}/token\""}}};
    raw_client client{registry.port()};
    auto const refused = client.ask("GET", "/v2/");
    REQUIRE(refused.headers.size() >= 3);
    CHECK(refused.headers.at(1).second == "Basic realm=\"x\"");
    CHECK(refused.headers.at(2).second == "Bearer realm=\"http://" + registry.other_authority() + "/token\"");
}

TEST_CASE("credentials that nobody asked for", "[test_registry]") {
    test_registry registry;
    raw_client client{registry.port()};
    CHECK(client.ask("GET", "/v2/", {{"Authorization", "Basic eDp5"}}).status == 200);
    require_violation(registry, "Authorization comes unasked");
    registry.reset();
    registry.expect({.asked_for_credentials = false});
    CHECK(client.ask("GET", "/v2/", {{"Authorization", "Basic eDp5"}}).status == 200);
    CHECK(registry.violations().empty());
}

TEST_CASE("who may write", "[test_registry]") {
    test_registry registry{
        {.read_only_status = 403, .denied_repositories = {"secret"}, .immutable_tags = true}};
    raw_client client{registry.port()};
    push_image(client);
    CHECK(put_manifest(client, sample_manifest(), "latest") == 400);
    CHECK(client.ask("GET", "/v2/secret/tags/list").status == 403);
    CHECK(client.ask("GET", "/v2/UPPER/tags/list").status == 400);
    registry.change([](auto& how) { how.read_only = true; });
    CHECK(push_blob(client, "more") == 403);
    CHECK(client.ask("GET", "/v2/app/manifests/latest").status == 200);
}

TEST_CASE("a tag that moved is not overwritten blindly", "[test_registry]") {
    test_registry registry;
    raw_client client{registry.port()};
    push_image(client);
    auto const etag = client.ask("HEAD", "/v2/app/manifests/latest").header("ETag");
    registry.set_tag("app", "latest", registry.put_manifest("app", sample_manifest("of someone else")));
    auto const put = [&](std::string const& match) {
        return client
            .ask("PUT", "/v2/app/manifests/latest", {{"Content-Type", manifest_type}, {"If-Match", match}},
                 sample_manifest())
            .status;
    };
    CHECK(put(etag) == 412);
    CHECK(put(client.ask("HEAD", "/v2/app/manifests/latest").header("ETag")) == 201);
}

TEST_CASE("every form of Location leads to the same upload", "[test_registry]") {
    auto const form = GENERATE(location_form::path, location_form::relative, location_form::absolute,
                               location_form::protocol_relative, location_form::twice);
    test_registry registry{{.location = form,
                            .location_state = true,
                            .location_digest = true,
                            .location_singular = true,
                            .location_fragment = true,
                            .location_long = true,
                            .session_cookies = true}};
    raw_client client{registry.port()};
    auto const started = client.ask("POST", "/v2/app/blobs/uploads/", {}, "");
    CHECK_FALSE(started.header("Set-Cookie").empty());
    auto location = started.header("Location");
    CHECK(location.size() > 8 * 1024);
    if (form == location_form::absolute)
        CHECK(location.starts_with("http://" + registry.authority() + "/v2/"));
    if (form == location_form::protocol_relative)
        CHECK(location.starts_with("//" + registry.authority() + "/v2/"));
    if (form == location_form::relative)
        location = "/v2/app/blobs/upload/" + location;
    else
        location.erase(0, location.find("/v2/"));
    location.erase(location.find('#'));
    SECTION("used as it is") {
        CHECK(client.ask("PUT", with_digest(location, digest_of(layer_text)), {}, layer_text).status == 201);
        CHECK(registry.violations().empty());
    }
    SECTION("without its query") {
        location.erase(location.find('?'));
        CHECK(client.ask("PUT", with_digest(location, digest_of(layer_text)), {}, layer_text).status == 400);
        require_violation(registry, "is not the latest Location");
    }
}

TEST_CASE("an answer that is lost leaves the old Location and the new one", "[test_registry]") {
    test_registry registry{{.location_state = true}};
    registry.fail({.on = request_kind::patch_upload, .with = lost_reply{.reset = false}});
    raw_client first{registry.port()};
    auto const location = first.ask("POST", "/v2/app/blobs/uploads/", {}, "").header("Location");
    CHECK(first.ask("PATCH", location, {{"Content-Range", "0-4"}}, layer_text.substr(0, 5)).status == 0);
    raw_client second{registry.port()};
    auto const asked = second.ask("GET", location);
    CHECK(asked.status == 204);
    CHECK(asked.header("Range") == "0-4");
    CHECK(registry.violations().empty());
    CHECK(second.ask("GET", location).status == 400);
}

TEST_CASE("slow, in both directions", "[test_registry]") {
    test_registry registry{{.read_bytes_per_second = 100'000}};
    registry.fail(
        {.on = request_kind::get_blob, .with = trickle{.piece = 5, .pause = std::chrono::milliseconds{20}}});
    raw_client client{registry.port()};
    auto const start = std::chrono::steady_clock::now();
    std::string const content(10'000, 'x');
    CHECK(push_blob(client, content) == 201);
    auto const pushed = std::chrono::steady_clock::now();
    CHECK(pushed - start > std::chrono::milliseconds{90});
    registry.put_blob("app", layer_text);
    CHECK(client.ask("GET", "/v2/app/blobs/" + digest_of(layer_text)).body == layer_text);
    CHECK(std::chrono::steady_clock::now() - pushed > std::chrono::milliseconds{75});
}

TEST_CASE("a client that dies in the middle", "[test_registry]") {
    test_registry registry;
    {
        raw_client client{registry.port()};
        auto const location = client.ask("POST", "/v2/app/blobs/uploads/", {}, "").header("Location");
        client.send("PATCH " + location +
                    " HTTP/1.1\r\nHost: x\r\nUser-Agent: raw\r\nContent-Length: 100\r\n" +
                    "Content-Range: 0-99\r\n\r\nonly this");
        REQUIRE(registry.wait_for(request_kind::patch_upload));
    }
    REQUIRE(registry.wait_until_idle());
    auto const last = registry.requests().back();
    CHECK(last.body_bytes == 9);
    CHECK(last.status == 0);
    CHECK_FALSE(last.complete);
    CHECK(registry.open_uploads() == 1);
    registry.forget_uploads();
    CHECK(registry.open_uploads() == 0);
}

TEST_CASE("HTTP dates", "[test_registry]") {
    CHECK(registry_test::http_date(std::chrono::system_clock::from_time_t(784111777)) ==
          "Sun, 06 Nov 1994 08:49:37 GMT");
}

TEST_CASE("redirects to another origin", "[test_registry]") {
    test_registry registry{
        {.auth = {.mode = auth_mode::basic}, .redirect_uploads = 307, .redirect_blobs = true}};
    field_list const basic{{"Authorization", "Basic dXNlcjpzZWNyZXQ="}};
    raw_client client{registry.port()};
    raw_client other{registry.other_port()};
    auto const prefix = "http://" + registry.other_authority();
    auto const location = client.ask("POST", "/v2/app/blobs/uploads/", basic, "").header("Location");
    auto const sent_on = client.ask("PUT", with_digest(location, digest_of(layer_text)), basic, layer_text);
    CHECK(sent_on.status == 307);
    REQUIRE(sent_on.header("Location").starts_with(prefix));
    CHECK(other.ask("PUT", sent_on.header("Location").substr(prefix.size()), {}, layer_text).status == 201);

    auto const elsewhere = client.ask("GET", "/v2/app/blobs/" + digest_of(layer_text), basic);
    CHECK(elsewhere.status == 307);
    auto const target = elsewhere.header("Location").substr(prefix.size());
    CHECK(other.ask("GET", target).body == layer_text);
    REQUIRE(registry.violations().empty());
    CHECK(other.ask("GET", target, basic).status == 200);
    require_violation(registry, "Authorization reached another origin");
}

TEST_CASE("a realm on another origin", "[test_registry]") {
    test_registry registry{{.auth = {.mode = auth_mode::bearer, .realm_on_other_port = true}}};
    raw_client client{registry.port()};
    raw_client other{registry.other_port()};
    CHECK_THAT(client.ask("GET", "/v2/").header("WWW-Authenticate"), contains(registry.other_authority()));
    CHECK(other.ask("GET", "/token?service=test-registry", {{"Authorization", "Basic dXNlcjpzZWNyZXQ="}})
              .status == 200);
    CHECK(registry.violations().empty());
}

TEST_CASE("tokens as services write them", "[test_registry]") {
    test_registry registry{{.auth = {.mode = auth_mode::bearer, .anonymous_tokens = true}}};
    raw_client client{registry.port()};
    auto const token = [&](token_names names, std::string const& expires_in) {
        registry.change([&](auto& how) {
            how.auth.names = names;
            how.auth.expires_in = expires_in;
        });
        return nlohmann::json::parse(client.ask("GET", "/token?service=test-registry").body);
    };
    CHECK(token(token_names::token, "0").at("expires_in") == 0);
    CHECK(token(token_names::access_token, "\"300\"").at("expires_in") == "300");
    CHECK_FALSE(token(token_names::both, "").contains("expires_in"));
    CHECK(token(token_names::none, "").empty());
    registry.change([](auto& how) {
        how.auth.names = token_names::token;
        how.auth.refused_scopes = {"base"};
    });
    CHECK(client.ask("GET", "/token?service=test-registry&scope=repository:base:pull").status == 403);
    auto const weak = client.ask("GET", "/token?service=test-registry&scope=repository:app:pull,push");
    field_list const bearer{
        {"Authorization", "Bearer " + nlohmann::json::parse(weak.body).at("token").get<std::string>()}};
    CHECK(client.ask("HEAD", "/v2/app/blobs/" + digest_of(layer_text), bearer).status == 404);
    CHECK(push_blob(client, layer_text, bearer) == 401); // anonymous: for reading only
    CHECK(registry.violations().empty());
}

TEST_CASE("faults that never end, and faults of one repository", "[test_registry]") {
    test_registry registry;
    raw_client client{registry.port()};
    registry.fail({.method = "HEAD", .target_has = "/v2/bad/", .times = always, .with = answer{503}});
    auto const path = "/blobs/" + digest_of(layer_text);
    for (auto i = 0; i < 3; ++i) {
        CHECK(client.ask("HEAD", "/v2/bad" + path).status == 503);
        CHECK(client.ask("HEAD", "/v2/good" + path).status == 404);
    }
    registry.clear_faults();
    CHECK(client.ask("HEAD", "/v2/bad" + path).status == 404);
}

TEST_CASE("a restart in the middle of an upload", "[test_registry]") {
    test_registry registry;
    raw_client first{registry.port()};
    auto const location = first.ask("POST", "/v2/app/blobs/uploads/", {}, "").header("Location");
    CHECK(first.ask("PATCH", location, {{"Content-Range", "0-4"}}, layer_text.substr(0, 5)).status == 202);
    registry.hang_up();
    CHECK(first.ask("GET", location).status == 0);
    raw_client second{registry.port()};
    CHECK(second.ask("GET", location).header("Range") == "0-4");
    CHECK(registry.connections() == 2);
}
