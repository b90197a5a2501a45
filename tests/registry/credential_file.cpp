#include <shiplap/registry/credential_file.hpp>

#include "support/catch.hpp"
#include "support/temp.hpp"

using namespace shiplap;

namespace {

registry_access const r_io{.registry = {"https", "r.io", 443}, .name = "r.io", .repository = "team/app"};
registry_access const hub{
    .registry = {"https", "registry-1.docker.io", 443}, .name = "docker.io", .repository = "library/app"};

std::string user_in(std::string const& text, registry_access const& access = r_io,
                    environment const& env = {}) {
    auto const found = find_in_credential_file(text, "config.json", access, env);
    return found ? found->user : "none";
}

/// {"auths": {KEY: login of a user}}
std::string file_with(std::vector<std::pair<std::string, std::string>> const& logins) {
    std::string text;
    for (auto const& [key, user] : logins)
        text += (text.empty() ? "\"" : ",\"") + key + "\":{\"auth\":\"" + detail::base64(user + ":x") + "\"}";
    return "{\"auths\":{" + text + "}}";
}

std::string failure_of(std::string const& text) {
    try {
        static_cast<void>(user_in(text));
    } catch (format_error const& failure) {
        return failure.what();
    }
    return "no failure";
}

} // namespace

TEST_CASE("keys of a registry come in many forms", "[credential_file]") {
    auto const key = GENERATE(as<std::string>{}, "r.io", "R.io", "r.io:443", "https://r.io", "https://r.io/",
                              "http://r.io/v1/", "https://r.io/v2/", "r.io/v2");
    CHECK(user_in(file_with({{key, "bob"}})) == "bob");
}

TEST_CASE("other registries' keys are not taken", "[credential_file]") {
    auto const key =
        GENERATE(as<std::string>{}, "r.io:5000", "x.r.io", "r.io.evil.com", "r.i", "", "docker.io",
                 "https://bob@r.io", "r.io/tea", "r.io/team/app2", "r.io/team/app/sub", "r.io/other");
    CHECK(user_in(file_with({{key, "bob"}})) == "none");
}

TEST_CASE("the port counts unless it is the usual one", "[credential_file]") {
    auto access = r_io;
    access.registry.port = 5000;
    CHECK(user_in(file_with({{"r.io", "a"}, {"r.io:5000", "b"}}), access) == "b");
    access.registry = {"http", "r.io", 80};
    CHECK(user_in(file_with({{"r.io:443", "a"}, {"r.io:80", "b"}}), access) == "b");
    access.registry = {"http", "::1", 5000};
    CHECK(user_in(file_with({{"[::1]:5000", "c"}}), access) == "c");
}

TEST_CASE("Docker Hub has many names", "[credential_file]") {
    auto const key =
        GENERATE(as<std::string>{}, "https://index.docker.io/v1/", "index.docker.io", "docker.io",
                 "registry-1.docker.io", "https://registry-1.docker.io/v2/", "docker.io/library");
    CHECK(user_in(file_with({{key, "bob"}}), hub) == "bob");
    auto plain = hub;
    plain.registry = {"http", "registry-1.docker.io", 80};
    CHECK(user_in(file_with({{key, "bob"}}), plain) == "none");
    // A mirror that is written "docker.io" is not Docker Hub.
    auto mirror = hub;
    mirror.registry.host = "mirror.corp";
    CHECK(user_in(file_with({{key, "bob"}}), mirror) == "none");
}

TEST_CASE("the longest path wins", "[credential_file]") {
    auto const text = file_with({{"r.io", "host"}, {"r.io/team", "team"}, {"r.io/team/app", "app"}});
    auto access = r_io;
    CHECK(user_in(text, access) == "app");
    access.repository = "team/other";
    CHECK(user_in(text, access) == "team");
    access.repository = "teams";
    CHECK(user_in(text, access) == "host");
}

TEST_CASE("an entry is a password or a token", "[credential_file]") {
    auto const entry = [](std::string const& text) {
        return find_in_credential_file(R"({"auths":{"r.io":{)" + text + "}}}", "f", r_io, {});
    };
    auto found = entry(R"("auth":"Ym9iOmE6Yg==")").value();
    CHECK(found.user == "bob");
    CHECK(found.password.reveal() == "a:b");
    CHECK(found.found_in == "f");

    auto const padded = detail::base64(std::string{"bob:x\0\0", 7});
    CHECK(entry("\"auth\":\"" + padded + "\"").value().password.reveal() == "x");
    CHECK(entry("\"auth\":\"" + detail::base64("bob:") + "\"").value().password.empty());

    found = entry(R"("username":"bob","password":"y","email":"x@y")").value();
    CHECK(found.user == "bob");
    CHECK(found.password.reveal() == "y");

    found = entry(R"("auth":"Ym9iOg==","identitytoken":"i")").value();
    CHECK(found.user == "bob");
    CHECK(found.identity_token.reveal() == "i");
    CHECK(entry(R"("registrytoken":"r")").value().registry_token.reveal() == "r");
    CHECK_FALSE(entry(""));
    CHECK_FALSE(entry(R"("auth":"")"));
}

TEST_CASE("helpers and stores are asked", "[credential_file]") {
    temp_dir dir;
    environment const env{{"PATH", dir.path().string() + ":/usr/bin:/bin"}};
    for (std::string const name : {"one", "two"})
        write_file(dir / ("docker-credential-" + name),
                   "#!/bin/sh\nread s\ncase $s in no.io) echo credentials not found; exit 1;; esac\n"
                   "printf '{\"Username\":\"" +
                       name + " %s\",\"Secret\":\"x\"}' \"$s\"",
                   0755);
    CHECK(user_in(R"({"auths":{"r.io":{}},"credsStore":"one"})", r_io, env) == "one r.io");
    CHECK(user_in(R"({"credsStore":"one"})", r_io, env) == "one r.io");
    CHECK(user_in(R"({"credsStore":"one","credHelpers":{"r.io":"two"}})", r_io, env) == "two r.io");
    CHECK(user_in(R"({"credsStore":"one","credHelpers":{"x.io":"two"}})", r_io, env) == "one r.io");
    CHECK(user_in(R"({"credsStore":"one"})", hub, env) == "one https://index.docker.io/v1/");
    // What a path names comes before a helper, and a helper before the host's own entry.
    CHECK(user_in(R"({"credsStore":"one","auths":{"r.io/team":{"auth":"Ym9iOng="}}})", r_io, env) == "bob");
    CHECK(user_in(R"({"credsStore":"one","auths":{"r.io":{"auth":"Ym9iOng="}}})", r_io, env) == "one r.io");
    registry_access const no{.registry = {"https", "no.io", 443}};
    CHECK(user_in(R"({"credsStore":"one","auths":{"no.io":{"auth":"Ym9iOng="}}})", no, env) == "bob");
    CHECK(user_in(R"({"credsStore":"one"})", no, env) == "none");
    auto access = r_io;
    access.name = "r.io:443"; // as the user logged in
    CHECK(user_in(R"({"credsStore":"one"})", access, env) == "one r.io:443");
    access.name = "evil.io";
    CHECK(user_in(R"({"credsStore":"one"})", access, env) == "one r.io");
    CHECK_THROWS_AS(user_in(R"({"credsStore":"three"})", r_io, env), credential_error);
    CHECK_THROWS_AS(user_in(R"({"credsStore":"../one"})", r_io, env), credential_error);
}

TEST_CASE("malformed files are told with file and place, and without secrets", "[credential_file]") {
    CHECK(failure_of("{").starts_with("parse JSON 'config.json': parse error at line 1"));
    CHECK_THAT(failure_of(R"({"auths":{"r.io":{"auth":"c3dvcmRmaXNo})"), !contains("c3dvcm"));
    CHECK(failure_of("[]") == "parse JSON 'config.json': the document must be an object");
    CHECK(failure_of(R"({"auths":[]})") == "parse JSON 'config.json': at '/auths': must be an object");
    CHECK(failure_of(R"({"auths":{"r.io":{"auth":"#"}}})") ==
          "parse JSON 'config.json': at '/auths/r.io/auth': is not the base64 of user:password");
    CHECK_THAT(failure_of(R"({"auths":{"r.io":{"auth":"Ym9i"}}})"), contains("'/auths/r.io/auth'"));
    CHECK_THAT(failure_of(R"({"auths":{"r.io":{"auth":1}}})"), contains("must be a string"));
    CHECK_THAT(failure_of(R"({"credsStore":1})"), contains("'/credsStore'"));
    // What is wrong with another registry's entry does not matter here.
    CHECK(user_in(R"({"auths":{"x.io":{"auth":"#"},"r.io":{"auth":"Ym9iOng="}}})") == "bob");
    CHECK(user_in(R"({"auths":{"x.io":"#"},"HttpHeaders":{}})") == "none");
}
