#include <shiplap/image/reference.hpp>

#include "support/catch.hpp"

#include <string>

using namespace shiplap;

namespace {
std::string const hex64(64, 'a');
std::string const at_digest = "@sha256:" + hex64;
} // namespace

TEST_CASE("reference: short names are completed") {
    struct row {
        std::string text, whole, familiar;
    };
    auto const [text, whole, familiar] = GENERATE(values<row>({
        {"app", "docker.io/library/app", "app"},
        {"app:1", "docker.io/library/app:1", "app:1"},
        {"library/app", "docker.io/library/app", "app"},
        {"team/app", "docker.io/team/app", "team/app"},
        {"a/b/c", "docker.io/a/b/c", "a/b/c"},
        {"library/a/b", "docker.io/library/a/b", "library/a/b"},
        {"docker.io/app", "docker.io/library/app", "app"},
        {"docker.io/team/app", "docker.io/team/app", "team/app"},
        {"index.docker.io/app", "docker.io/library/app", "app"},
        {"index.docker.io/team/app:x", "docker.io/team/app:x", "team/app:x"},
        {"localhost/app", "localhost/app", "localhost/app"},
        {"localhost:5000/app:1", "localhost:5000/app:1", "localhost:5000/app:1"},
        {"example.com/app", "example.com/app", "example.com/app"},
        {"example.com:443/a/b:c", "example.com:443/a/b:c", "example.com:443/a/b:c"},
        {"host:80/app", "host:80/app", "host:80/app"},
        {"host/app", "docker.io/host/app", "host/app"},
        {"HOST/app", "HOST/app", "HOST/app"},
        {"Docker/docker", "Docker/docker", "Docker/docker"},
        {"127.0.0.1:5000/app", "127.0.0.1:5000/app", "127.0.0.1:5000/app"},
        {"192.168.0.1", "docker.io/library/192.168.0.1", "192.168.0.1"},
        {"192.168.0.1:80", "docker.io/library/192.168.0.1:80", "192.168.0.1:80"},
        {"[::1]/app", "[::1]/app", "[::1]/app"},
        {"[fc00::1]:5000/a/b:c", "[fc00::1]:5000/a/b:c", "[fc00::1]:5000/a/b:c"},
        {"a.b-c.d1/x", "a.b-c.d1/x", "a.b-c.d1/x"},
        {"a__b", "docker.io/library/a__b", "a__b"},
        {"a--b.c_d-----e", "docker.io/library/a--b.c_d-----e", "a--b.c_d-----e"},
        {"app" + at_digest, "docker.io/library/app" + at_digest, "app" + at_digest},
        {"r.io/app:1" + at_digest, "r.io/app:1" + at_digest, "r.io/app:1" + at_digest},
        {"app@sha512:" + hex64 + hex64, "docker.io/library/app@sha512:" + hex64 + hex64,
         "app@sha512:" + hex64 + hex64},
        {"docker.io/" + hex64, "docker.io/library/" + hex64, hex64},
        {hex64 + "a", "docker.io/library/" + hex64 + "a", hex64 + "a"},
        {hex64 + ":1", "docker.io/library/" + hex64 + ":1", hex64 + ":1"},
        {"app:" + std::string(128, 'T'), "docker.io/library/app:" + std::string(128, 'T'),
         "app:" + std::string(128, 'T')},
        {"app:_._-", "docker.io/library/app:_._-", "app:_._-"},
        {"r.io/" + std::string(255, 'p'), "r.io/" + std::string(255, 'p'), "r.io/" + std::string(255, 'p')},
    }));
    CAPTURE(text);
    auto const parsed = reference::parse(text);
    CHECK(parsed.text() == whole);
    CHECK(parsed.familiar() == familiar);
    CHECK(parsed.name() == parsed.domain() + "/" + parsed.path());
    CHECK(reference::parse(whole) == parsed);
    CHECK(parsed.with_default_tag().with_default_tag() == parsed.with_default_tag());
}

TEST_CASE("reference: the parts") {
    auto const all = reference::parse("localhost:5000/a/b:1.0" + at_digest);
    CHECK(all.domain() == "localhost:5000");
    CHECK(all.path() == "a/b");
    CHECK(all.tag() == "1.0");
    CHECK(all.digest() == digest::parse("sha256:" + hex64));
    auto const bare = reference::parse("a");
    CHECK(bare.tag().empty());
    CHECK_FALSE(bare.digest());
    CHECK(bare.with_default_tag().text() == "docker.io/library/a:latest");
    CHECK(reference::parse("a" + at_digest).with_default_tag().text() == "docker.io/library/a" + at_digest);
}

TEST_CASE("reference: malformed ones are refused, with the reason") {
    struct row {
        std::string text, reason;
    };
    auto const [text, reason] = GENERATE(values<row>({
        {"", "is empty"},
        {":1", "repository name"},
        {at_digest, "repository name"},
        {"/app", "repository name"},
        {"app/", "repository name"},
        {"a//b", "repository name"},
        {"docker///docker", "repository name"},
        {"-app", "repository name"},
        {"app-", "repository name"},
        {"a..b", "repository name"},
        {"a___b", "repository name"},
        {"a_-b", "repository name"},
        {"a._b", "repository name"},
        {"a b", "repository name"},
        {"a\nb", "repository name"},
        {"\xc3\xa9", "repository name"},
        {"../etc", "the registry (..)"},
        {"a/../b", "repository name"},
        {"App", "must be lowercase"},
        {"docker/Docker", "repository name (docker/Docker) must be lowercase"},
        {"r.io/a/B:1", "must be lowercase"},
        {hex64, "cannot specify 64-byte hexadecimal strings"},
        {"https://r.io/app", "must not start with a scheme; write r.io/app"},
        {"-r.io/app", "the registry"},
        {"r-.io/app", "the registry"},
        {"r..io/app", "the registry"},
        {"r_x.io/app", "the registry"},
        {"r.io:/app", "the registry"},
        {"r.io:80a/app", "the registry"},
        {"fc00::1:5000/app", "the registry"},
        {"[fe80::1%eth0]:5000/app", "the registry"},
        {"[]/app", "repository name"},
        {"[]:1/app", "the registry"},
        {"[::1/app", "the registry"},
        {"[fc00::1]", "repository name"},
        {"app:", "the tag"},
        {"app:-x", "the tag"},
        {"app:.x", "the tag"},
        {"app:a/b", "the registry (app:a)"},
        {"r.io/app:a/b", "the tag"},
        {"app:a:b", "the tag"},
        {"app:" + std::string(129, 't'), "the tag"},
        {"app@", "the digest"},
        {"app@sha256:" + hex64.substr(1), "the digest"},
        {"app@sha256:" + std::string(64, 'A'), "the digest"},
        {"app@md5:" + hex64.substr(32), "the digest"},
        {"app" + at_digest + ":1", "the digest"},
        {"r.io/" + std::string(256, 'p'), "255"},
        {std::string(248, 'p'), "255"}, // with "library/"
    }));
    CAPTURE(text);
    CHECK_THROWS_AS(reference::parse(text), option_error);
    CHECK_THROWS_WITH(reference::parse(text), contains("invalid reference format: ") && contains(reason));
}

TEST_CASE("reference: the two forms of a name") {
    struct row {
        std::string text, full, ref_name;
    };
    auto const [text, full, ref_name] = GENERATE(values<row>({
        {"app", "docker.io/library/app:latest", "latest"},
        {"app:1", "docker.io/library/app:1", "1"},
        {"r.io/app:1" + at_digest, "r.io/app:1" + at_digest, "1" + at_digest},
        {"r.io/app" + at_digest, "r.io/app" + at_digest, "r.io/app" + at_digest},
    }));
    CHECK(name_of(reference::parse(text)) == image_name{full, ref_name});
}
