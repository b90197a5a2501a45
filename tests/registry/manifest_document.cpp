#include <shiplap/registry/manifest_document.hpp>

#include <string>

#include <support/catch.hpp>

using namespace shiplap;

namespace {

std::string const manifest{oci_media_types::manifest}, index_type{oci_media_types::index},
    docker_manifest{docker_media_types::manifest};

manifest_document read(std::string const& text, std::string const& content_type,
                       std::string const& name = "v1") {
    http_headers headers;
    if (!content_type.empty()) headers.add("Content-Type", content_type);
    span_source body{text};
    http_response answer{200, std::move(headers), any_byte_source{body}};
    return read_manifest_document(name, "r.io/app:" + name, answer);
}

std::string says(std::string const& type) {
    return R"({"mediaType":")" + type + R"("})";
}

} // namespace

TEST_CASE("a document is what it and its Content-Type say, if they agree", "[registry]") {
    struct {
        std::string text, content_type, means; ///< empty: refused
    } const cases[] = {
        {says(manifest), manifest, manifest},
        {says(manifest), manifest + "; charset=utf-8", manifest},
        {says(manifest), manifest + ";charset=utf-8", manifest},
        {says(docker_manifest), "Application/vnd.docker.distribution.manifest.v2+JSON", docker_manifest},
        {says(manifest), "", manifest},
        {says(manifest), "application/json", manifest},
        {says(manifest), "text/plain", manifest},
        {"{}", manifest, manifest}, // OCI lets documents be silent
        {"{}", index_type, index_type},
        {R"({"mediaType":7})", manifest, manifest},
        {R"({"manifests":[]})", "application/json", index_type},
        {R"({"layers":[]})", "", manifest},
        {R"({"layers":[]})", "text/plain; charset=utf-8", manifest},
        {R"({"layers":[]})", "application/vnd.other+json", "application/vnd.other+json"},
        // One reader would see an index, another one a manifest.
        {says(manifest), index_type, ""},
        {says(index_type), manifest, ""},
        {says(manifest), docker_manifest, ""},
    };
    for (auto const& [text, content_type, means] : cases) {
        CAPTURE(text, content_type);
        if (means.empty())
            CHECK_THROWS_AS(read(text, content_type), format_error);
        else
            CHECK(read(text, content_type).what.media_type == means);
    }
}

TEST_CASE("a document is kept as its bytes", "[registry]") {
    std::string const text = "\t{ \"mediaType\" :\n\"" + manifest + "\" }\r\n\n";
    auto const document = read(text, manifest);
    CHECK(document.text == text);
    CHECK(document.what.size == text.size());
    CHECK(document.what.digest == digest::of<sha256>(as_bytes(text)));
}

TEST_CASE("a document has the digest that it was asked for by", "[registry]") {
    auto const text = says(manifest);
    for (auto const& which : {digest::of<sha256>(as_bytes(text)), digest::of<sha512>(as_bytes(text))})
        CHECK(read(text, manifest, which.text()).what.digest == which);
    CHECK_THROWS_AS(read(text + " ", manifest, digest::of<sha256>(as_bytes(text)).text()), digest_mismatch);
}

TEST_CASE("a document is no larger than 4 MiB", "[registry]") {
    auto const of_size = [](std::size_t size) {
        return says(manifest) + std::string(size - says(manifest).size(), ' ');
    };
    CHECK(read(of_size(max_document_size - 1), manifest).what.size == max_document_size - 1);
    CHECK(read(of_size(max_document_size), manifest).what.size == max_document_size);
    CHECK_THROWS_AS(read(of_size(max_document_size + 1), manifest), format_error);
    CHECK_THROWS_AS(read(of_size(max_document_size * 2), manifest), format_error);
}

TEST_CASE("what is no JSON is no document", "[registry]") {
    for (auto const* const text : {"", "<html>", "{", R"({"a":1,"a":2})", "{}x"}) {
        CAPTURE(text);
        CHECK_THROWS_AS(read(text, manifest), format_error);
    }
}
