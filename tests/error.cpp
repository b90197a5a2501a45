#include <shiplap/error.hpp>

#include "support/catch.hpp"

#include <cerrno>

using namespace shiplap;

TEST_CASE("text from outside is printed without harm") {
    struct row {
        std::string text, shown;
    };
    auto const& [text, shown] = GENERATE(values<row>({
        {"", ""},
        {"plain /path: 'x'", "plain /path: 'x'"},
        {"caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x9a\xa2", "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x9a\xa2"},
        {"\x1b[31m", "\\x1b[31m"},                    // colours
        {"a\nb\tc\x7f", "a\\x0ab\\x09c\\x7f"},        // lines
        {std::string("\0", 1), "\\x00"},              // an embedded zero
        {"\xff\xfe", "\\xff\\xfe"},                   // never UTF-8
        {"\xc3", "\\xc3"},                            // cut short
        {"\xe2\x82", "\\xe2\\x82"},                   // cut short
        {"\xc0\xaf", "\\xc0\\xaf"},                   // overlong '/'
        {"\xc2\x9b", "\\xc2\\x9b"},                   // a control character of ISO 6429
        {"\xc2\xa0", "\xc2\xa0"},                     // the first that is none
        {"\xf5\x80\x80\x80", "\\xf5\\x80\\x80\\x80"}, // beyond Unicode
    }));
    CHECK(printable(text) == shown);
}

TEST_CASE("a message names operation, subject and reason, context outermost first") {
    error failure{error_code::format, "read", "a\nb", "no header"};
    CHECK(std::string{failure.what()} == "read 'a\\x0ab': no header");
    CHECK(failure.subject() == "a\nb");

    failure.within("layer 2");
    failure.within("export");
    CHECK(std::string{failure.what()} == "export: layer 2: read 'a\\x0ab': no header");
    CHECK(failure.code() == error_code::format);

    CHECK(std::string{error{error_code::io, "connect", "", "refused"}.what()} == "connect: refused");
}

TEST_CASE("every kind is caught as error and tells its code") {
    CHECK(option_error{"name", "is empty"}.code() == error_code::option);
    CHECK(option_error{"parse", "x", "no"}.operation() == "parse");
    CHECK(format_error{"parse", "x", "no"}.code() == error_code::format);
    CHECK(digest_mismatch{"verify", "x", "no"}.code() == error_code::digest_mismatch);

    try {
        throw system_error{"open", "/x", ENOENT};
    } catch (error const& failure) {
        CHECK(failure.code() == error_code::io);
        CHECK(std::string{failure.what()} == "open '/x': No such file or directory");
        CHECK(dynamic_cast<system_error const&>(failure).number() == ENOENT);
    }
}
