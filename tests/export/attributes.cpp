#include <shiplap/export/attributes.hpp>

#include "support/catch.hpp"

using namespace shiplap;

namespace {

std::string shown(attributes const& parsed) {
    std::string out;
    for (auto const& one : parsed)
        out += one.key + "=" + one.value + "@" + std::to_string(one.position) + "|";
    return out;
}

} // namespace

TEST_CASE("an option string becomes keys, values and positions", "[attributes]") {
    struct row {
        std::string text, parsed;
    };
    auto const& [text, parsed] = GENERATE(values<row>({
        {"type=oci", "type=oci@1|"},
        {"type=oci,dest=a b ,x=", "type=oci@1|dest=a b @10|x=@20|"},
        {"type=image,\"name=a,b\",push=1", "type=image@1|name=a,b@12|push=1@23|"},
        {"\"k=say \"\"hi\"\"\"", "k=say \"hi\"@1|"},
        {"\"k=\nline\"", "k=\nline@1|"},
        {"a=b=c", "a=b=c@1|"},
        {" Type =OCI", "type=OCI@1|"},
        {"Annotation-Index.Some.Key=V", "annotation-index.Some.Key=V@1|"},
        {"annotation[linux/ARM64].K=v", "annotation[linux/arm64].K=v@1|"},
        {"DEST=x\r\n", "dest=x@1|"},
        {"a=b\n\n", "a=b\n@1|"}, // one line ending is tolerated, the other belongs to the value
        {"a=1,a=2", "a=1@1|a=2@5|"},
    }));
    CHECK(shown(parse_attributes(text)) == parsed);
}

TEST_CASE("a wrong option string is refused with the position", "[attributes]") {
    struct row {
        std::string text, message;
    };
    auto const& [text, message] = GENERATE(values<row>({
        {"", "empty option string"},
        {"\n", "empty option string"},
        {"type", "position 1: invalid value type"},
        {"type=oci,name=a,b", "position 17: invalid value b"},
        {"type=oci,", "position 10: invalid value"},
        {"type=oci,na\"me=x", "position 12: a quote inside an unquoted field"},
        {"\"type=oci", "position 1: this quote is never closed"},
        {"\"type=oci\"x,a=b", "position 11: text after a closing quote"},
        {"a=b,=c", "position 5: no key"},
    }));
    CHECK_THROWS_WITH(parse_attributes(text), contains(message));
    CHECK_THROWS_AS(parse_attributes(text), option_error);
}
