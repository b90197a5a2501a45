#include <shiplap/registry/curl_channel.hpp>

#include <cstdlib>
#include <optional>
#include <string>

#include <support/catch.hpp>
#include <support/temp.hpp>

using namespace shiplap;

TEST_CASE("a channel belongs to an origin and its rules", "[registry][curl]") {
    detail::curl_key const key{{"https", "r.io", 443}, false, true};
    detail::curl_channel channel{key};
    CHECK(channel.key() == key);
    CHECK_FALSE(channel.key() == detail::curl_key{key.to, true, true});
    channel.prepare();
    CHECK(channel.refused().empty());
    CHECK(channel.unsent() == 0);
    CHECK_FALSE(channel.readable());
}

TEST_CASE("certificates that cannot be read are told at once", "[registry][curl]") {
    temp_dir folder;
    host_certificates const missing{folder.path().string(), {folder / "ca.crt"}, {}};
    detail::curl_key const key{{"https", "r.io", 443}};
    CHECK_THROWS_WITH((detail::curl_channel{key, missing}), contains("ca.crt"));
}

TEST_CASE("the system's authorities are those that the environment names", "[registry][curl]") {
    auto const remember = [](char const* name) {
        auto const* const value = std::getenv(name);
        return value == nullptr ? std::optional<std::string>{} : value;
    };
    auto const restore = [](char const* name, std::optional<std::string> const& value) {
        value ? ::setenv(name, value->c_str(), 1) : ::unsetenv(name);
    };
    auto const file = remember("SSL_CERT_FILE"), folder = remember("SSL_CERT_DIR");
    ::setenv("SSL_CERT_FILE", "/elsewhere/ca.pem", 1);
    ::unsetenv("SSL_CERT_DIR");
    auto const named = detail::system_store::find();
    ::unsetenv("SSL_CERT_FILE");
    auto const built = detail::system_store::find();
    restore("SSL_CERT_FILE", file);
    restore("SSL_CERT_DIR", folder);
    CHECK(named.file == "/elsewhere/ca.pem");
    CHECK(named.folder.empty());
    CHECK(built.file != "/elsewhere/ca.pem");
}
