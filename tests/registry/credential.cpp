#include <shiplap/registry/credential.hpp>

#include "support/catch.hpp"

#include <sstream>

using namespace shiplap;

namespace {

struct one_for_all {
    std::optional<credential> find(registry_access const&) const { return credential{"me", secret{"x"}}; }
};
static_assert(credential_source<one_for_all> && credential_source<no_credentials> &&
              credential_source<fixed_credentials>);

template <class T>
concept printable_type = requires(std::ostream& out, T const& value) {
    out << value;
};
static_assert(!printable_type<secret> && !printable_type<credential>);

} // namespace

TEST_CASE("a fixed credential is for its registry alone", "[credential]") {
    fixed_credentials const source{{"https", "r.io", 443}, {"me", secret{"x"}}};
    CHECK(source.find({.registry = {"https", "r.io", 443}}).value().user == "me");
    CHECK_FALSE(source.find({.registry = {"http", "r.io", 443}}));
    CHECK_FALSE(source.find({.registry = {"https", "r.io", 5000}}));
    CHECK_FALSE(source.find({.registry = {"https", "x.r.io", 443}}));
    CHECK_FALSE(no_credentials{}.find({.registry = {"https", "r.io", 443}}));
}

TEST_CASE("base64 is that of RFC 4648", "[credential]") {
    auto const [plain, coded] = GENERATE(table<std::string, std::string>({
        {"", ""},
        {"f", "Zg=="},
        {"fo", "Zm8="},
        {"foo", "Zm9v"},
        {"foob", "Zm9vYg=="},
        {"fooba", "Zm9vYmE="},
        {"\xff\xfe\xfb", "//77"},
        {std::string(100, '\0'), std::string(134, 'A') + "=="},
    }));
    CHECK(detail::base64(plain) == coded);
    CHECK(detail::from_base64(coded) == plain);
    CHECK(detail::from_base64(coded.substr(0, coded.find('='))) == plain);
}

TEST_CASE("what is no base64 is not decoded", "[credential]") {
    auto const text = GENERATE(as<std::string>{}, "A", "Zg=", "Zg===", "Z g=", "Zm9v\n", "Zm9-", "=",
                               "====", "Zm==9v", "Zm9vA");
    CHECK_FALSE(detail::from_base64(text));
}

TEST_CASE("a user name may mark an identity token", "[credential]") {
    auto const found = detail::credential_of("<token>", "abc", "here");
    CHECK(found.user.empty());
    CHECK(found.identity_token.reveal() == "abc");
    CHECK(detail::basic_authorization(detail::credential_of("a", "b:\u00fc", "")) == "Basic YTpiOsO8");
}
