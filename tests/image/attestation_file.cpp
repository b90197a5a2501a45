#include <shiplap/image/attestation_file.hpp>

#include "support/catch.hpp"
#include "support/temp.hpp"

using namespace shiplap;

namespace {

std::string statement(std::string const& type, std::string const& subject, std::string const& predicate) {
    return R"({"_type":"https://in-toto.io/Statement/v0.1","subject":)" + subject + R"(,"predicateType":")" +
           type + R"(","predicate":)" + predicate + "}";
}

} // namespace

TEST_CASE("a predicate file, a statement, a bundle", "[attestation_file]") {
    temp_dir dir;
    write_file(dir / "p.json", "{\"a\": 1.0}\n");
    auto read = read_attestations(dir / "p.json", "urn:t");
    REQUIRE(read.size() == 1);
    CHECK(read[0].predicate_type == "urn:t");
    CHECK(read[0].predicate == "{\"a\": 1.0}\n");

    write_file(dir / "empty", "");
    CHECK(read_attestations(dir / "empty", "urn:t")[0].predicate.empty());

    std::filesystem::create_directory(dir / "bundle");
    write_file(dir / "bundle/b",
               statement("urn:b", R"([{"name":"n","digest":{"sha256":"ab"}},{"digest":{"x":"y"}}])",
                         R"({"v": 1.50, "http_proxy":1, "HTTP_PROXY":2})"));
    write_file(dir / "bundle/a", statement("urn:a", "null", "null"));
    read = read_attestations(dir / "bundle");
    REQUIRE(read.size() == 2);
    CHECK(read[0].predicate_type == "urn:a");
    CHECK(read[0].predicate.empty());
    CHECK(read[0].subjects.empty());
    CHECK(read[1].subjects ==
          std::vector<attestation_subject>{{"n", {{"sha256", "ab"}}}, {"", {{"x", "y"}}}});
    CHECK(read[1].predicate == R"({"v":1.50,"http_proxy":1,"HTTP_PROXY":2})");

    CHECK(read_attestations(dir / "bundle/b", "urn:b")[0].subjects.size() ==
          2); // the same, asked for by type
}

TEST_CASE("what is no attestation is refused by name", "[attestation_file]") {
    temp_dir dir;
    std::filesystem::create_directory(dir / "none");
    std::filesystem::create_directory(dir / "nested");
    std::filesystem::create_directory(dir / "nested/folder");
    struct row {
        std::string file, content, type, message;
    };
    std::string const some = R"([{"digest":{"a":"b"}}])";
    std::vector<row> const rows{
        {"missing", "", "urn:t", "no such file"},
        {"none", "", "", "bundle is empty"},
        {"nested", "", "", "is not a regular file"},
        {"text", "no json", "urn:t", "parse JSON"},
        {"two", "{}{}", "urn:t", "parse JSON"},
        {"array", "[]", "urn:t", "must be an object"},
        {"untyped", "{}", "", "type of its predicate must be given"},
        {"other", statement("urn:a", some, "{}"), "urn:b",
         "urn:a does not match required predicate type urn:b"},
        {"typeless", statement("", some, "{}"), "", "must not be empty"},
        {"subject", statement("urn:a", R"([{"name":"n","digest":{}}])", "{}"), "", "must not be empty"},
        {"digest", statement("urn:a", R"([{"name":"n"}])", "{}"), "", "is missing"},
        {"hex", statement("urn:a", R"([{"digest":{"a":1}}])", "{}"), "", "must be a string"},
        {"predicate", statement("urn:a", some, "[]"), "", "must be an object"},
    };
    for (auto const& [file, content, type, message] : rows) {
        CAPTURE(file);
        if (!content.empty()) write_file(dir / file, content);
        CHECK_THROWS_WITH(read_attestations(dir / file, type), contains(message) && contains(file));
    }
    write_file(dir / "old", R"({"_type":"https://in-toto.io/Statement/v2"})");
    CHECK_THROWS_WITH(parse_statement(read_file(dir / "old", 100), "old"), contains("/_type"));
    write_file(dir / "large", "{}");
    std::filesystem::resize_file(dir / "large", max_attestation_size + 1);
    CHECK_THROWS_WITH(read_attestations(dir / "large", "urn:t"), contains("exceeds 41943040 bytes"));
}
