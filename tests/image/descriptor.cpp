#include <shiplap/image/descriptor.hpp>

#include "support/catch.hpp"

#include <string>

using namespace shiplap;

namespace {

std::string const empty_digest =
    "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"; // of {}

descriptor read(std::string_view text) {
    auto const document = parse_json(text, "doc");
    return read_descriptor(json_node{document, "doc"});
}

std::string with(std::string const& media_type, std::string const& digest, std::string const& size,
                 std::string const& more = "") {
    return R"({"mediaType":)" + media_type + R"(,"digest":)" + digest + R"(,"size":)" + size + more + "}";
}

std::string good(std::string const& more = "") {
    return with(R"("application/json")", '"' + empty_digest + '"', "2", more);
}

} // namespace

TEST_CASE("descriptor: all members, in Go's order, there and back") {
    descriptor const full{.media_type = "application/vnd.oci.empty.v1+json",
                          .digest = digest::parse(empty_digest),
                          .size = 2,
                          .annotations = {{"b", "<"}, {"a", ""}},
                          .urls = {"https://example.com/x?a=1&b=2"},
                          .platform = platform{.os = "linux", .architecture = "arm64"},
                          .artifact_type = "application/x",
                          .data = "e30="};
    auto const text = compact(to_json(full));
    CHECK(text == R"({"mediaType":"application/vnd.oci.empty.v1+json","digest":")" + empty_digest +
                      R"(","size":2,"urls":["https://example.com/x?a=1\u0026b=2"],)"
                      R"("annotations":{"a":"","b":"\u003c"},"data":"e30=",)"
                      R"("platform":{"architecture":"arm64","os":"linux"},"artifactType":"application/x"})");
    CHECK(read(text) == full);

    descriptor const least{.media_type = "a/b", .digest = digest::parse(empty_digest)};
    CHECK(compact(to_json(least)) == R"({"mediaType":"a/b","digest":")" + empty_digest + R"(","size":0})");
    CHECK(read(compact(to_json(least))) == least);
}

TEST_CASE("descriptor: unknown and null members are no error") {
    auto const plain = read(good());
    CHECK(read(good(R"(,"future":{"x":[1]})")) == plain);
    CHECK(read(good(R"(,"annotations":null,"urls":null,"platform":null,"data":null,"artifactType":null)")) ==
          plain);
    CHECK(read(good(R"(,"artifactType":"")")) == plain);
}

TEST_CASE("descriptor: everything is checked, and the message has the place") {
    struct row {
        std::string text, place;
    };
    std::string const hex(64, 'a');
    auto const [text, place] = GENERATE_COPY(values<row>({
        {"[]", "the document"},
        {"{}", "'/mediaType'"},
        {with("null", '"' + empty_digest + '"', "2"), "'/mediaType'"},
        {with("1", '"' + empty_digest + '"', "2"), "'/mediaType'"},
        {with(R"("")", '"' + empty_digest + '"', "2"), "'/mediaType'"},
        {with(R"("json")", '"' + empty_digest + '"', "2"), "'/mediaType'"},
        {with(R"("a/b/c")", '"' + empty_digest + '"', "2"), "'/mediaType'"},
        {with(R"("text/plain; charset=utf-8")", '"' + empty_digest + '"', "2"), "'/mediaType'"},
        {with(R"("a/b")", "null", "2"), "'/digest'"},
        {with(R"("a/b")", R"("sha256:44")", "2"), "'/digest'"},
        {with(R"("a/b")", R"("md5:d41d8cd98f00b204e9800998ecf8427e")", "2"), "'/digest'"},
        {with(R"("a/b")", "\"sha256:" + std::string(64, 'A') + '"', "2"), "'/digest'"},
        {with(R"("a/b")", "\"sha512:" + hex + '"', "2"), "'/digest'"},
        {with(R"("a/b")", "\"sha256:../" + hex + '"', "2"), "'/digest'"},
        {with(R"("a/b")", '"' + empty_digest + '"', "-1"), "'/size'"},
        {with(R"("a/b")", '"' + empty_digest + '"', "9223372036854775808"), "'/size'"},
        {with(R"("a/b")", '"' + empty_digest + '"', "1e3"), "'/size'"},
        {with(R"("a/b")", '"' + empty_digest + '"', "2.0"), "'/size'"},
        {with(R"("a/b")", '"' + empty_digest + '"', R"("2")"), "'/size'"},
        {good(R"(,"urls":"https://example.com")"), "'/urls'"},
        {good(R"(,"urls":[1])"), "'/urls/0'"},
        {good(R"(,"annotations":[])"), "'/annotations'"},
        {good(R"(,"annotations":{"a":null})"), "'/annotations'"},
        {good(R"(,"annotations":{"a":1})"), "'/annotations'"},
        {good(R"(,"platform":{"os":"linux"})"), "'/platform/architecture'"},
        {good(R"(,"artifactType":"nonsense")"), "'/artifactType'"},
        {good(R"(,"data":"e30")"), "'/data'"},
        {good(R"(,"data":"e3=0")"), "'/data'"},
        {good(R"(,"data":"e31=")"), "'/data'"},     // bits beyond the last byte
        {good(R"(,"data":"e30=e30=")"), "'/data'"}, // more after the padding
        {good(R"(,"data":"e30 ")"), "'/data'"},
        {good(R"(,"data":"fX0=")"), "'/data'"}, // other bytes
        {good(R"(,"data":"e30g")"), "'/data'"}, // one more byte
    }));
    CAPTURE(text);
    CHECK_THROWS_AS(read(text), format_error);
    CHECK_THROWS_WITH(read(text), contains("'doc'") && contains(place));
}

TEST_CASE("base64: the vectors of RFC 4648") {
    struct row {
        std::string text, bytes;
    };
    auto const [text, bytes] = GENERATE(values<row>({{"", ""},
                                                     {"Zg==", "f"},
                                                     {"Zm8=", "fo"},
                                                     {"Zm9v", "foo"},
                                                     {"Zm9vYg==", "foob"},
                                                     {"Zm9vYmE=", "fooba"},
                                                     {"Zm9vYmFy", "foobar"},
                                                     {"/+8=", "\xff\xef"}}));
    CHECK(decode_base64(text) == bytes);
    auto const bad =
        GENERATE(values<std::string>({"Z", "Zg", "Zg=", "Zh==", "Zm9=", "====", "Z===", "Zm9v\n", "_-8="}));
    CHECK_FALSE(decode_base64(bad));
}
