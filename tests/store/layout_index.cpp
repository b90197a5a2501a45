#include <shiplap/store/layout_index.hpp>

#include "store/samples.hpp"
#include "support/catch.hpp"

using namespace samples;
using Catch::Matchers::Contains;

namespace {

descriptor image(std::string const& seed) {
    auto const facts = facts_of(seed);
    return {.media_type = std::string{oci_media_types::manifest}, .digest = facts.digest, .size = facts.size};
}

std::string merge(std::optional<std::string> const& existing, std::vector<descriptor> const& entries) {
    return merge_layout_index(existing, entries, "index.json");
}

std::vector<std::string> names(std::string const& text) {
    std::vector<std::string> out;
    for (auto const& entry : parse_layout_index(text, "index.json")) {
        auto const name = name_of_entry(entry);
        out.push_back(name.full + "|" + name.ref_name);
    }
    return out;
}

} // namespace

TEST_CASE("a new index.json is what the specification shows", "[layout]") {
    auto entry = named_entry(image("a"), {"docker.io/library/app:1", "1"});
    CHECK(merge({}, {entry}) ==
          R"({"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{)"
          R"("mediaType":"application/vnd.oci.image.manifest.v1+json","digest":")" +
              entry.digest.text() +
              R"(","size":1,"annotations":{"io.containerd.image.name":"docker.io/library/app:1",)"
              R"("org.opencontainers.image.ref.name":"1"}}]})");
    CHECK(merge({}, {}) ==
          R"({"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]})");
}

TEST_CASE("a name replaces the names that an image had elsewhere", "[layout]") {
    auto from = named_entry(image("a"), {"docker.io/library/old:1", "1"});
    from.annotations["org.example.kept"] = "yes";
    auto const bare = named_entry(from, {});
    CHECK(bare.annotations == annotation_map{{"org.example.kept", "yes"}});
    auto const tagged = named_entry(from, {"", "2"});
    CHECK(name_of_entry(tagged) == image_name{"", "2"});
}

TEST_CASE("entries with the same two names are replaced where they stand", "[layout]") {
    auto text = merge({}, {named_entry(image("a"), {"x/a:1", "1"}), named_entry(image("b"), {"x/b:1", "1"}),
                           named_entry(image("c"), {"", "1"}), image("d")});
    CHECK(names(text) == std::vector<std::string>{"x/a:1|1", "x/b:1|1", "|1", "|"});

    text = merge(text, {named_entry(image("new"), {"x/b:1", "1"}), named_entry(image("e"), {"x/a:1", ""})});
    CHECK(names(text) == std::vector<std::string>{"x/a:1|1", "x/b:1|1", "|1", "|", "x/a:1|"});
    auto const entries = parse_layout_index(text, "");
    CHECK(entries[0].digest == image("a").digest);
    CHECK(entries[1].digest == image("new").digest);

    SECTION("one without a name only replaces itself") {
        text = merge(text, {image("f"), image("d")});
        CHECK(parse_layout_index(text, "").size() == 6);
        CHECK(parse_layout_index(text, "").back().digest == image("f").digest);
    }
    SECTION("two entries of one name in one call: the last one stays") {
        text = merge(text, {named_entry(image("f"), {"", "9"}), named_entry(image("g"), {"", "9"})});
        CHECK(parse_layout_index(text, "").back().digest == image("g").digest);
        CHECK(parse_layout_index(text, "").size() == 6);
    }
    SECTION("merging what is there changes nothing") {
        CHECK(merge(text, {entries[0], entries[3]}) == text);
    }
}

TEST_CASE("what this program does not know is kept", "[layout]") {
    auto const digest = facts_of("a").digest.text();
    std::string const before =
        R"({"org.example.before":[1,{"deep":null}],"schemaVersion":2,"manifests":[{"mediaType":)"
        R"("application/vnd.oci.image.manifest.v1+json","size":1,"org.example.entry":1.5,"digest":")" +
        digest + R"("}],"annotations":{"k":"v","K":"V"},"subject":null})";
    auto const after = parse_json(merge(before, {named_entry(image("b"), {"", "b"})}), "");
    CHECK(after["org.example.before"].dump() == R"([1,{"deep":null}])");
    CHECK(after["manifests"][0]["org.example.entry"] == 1.5);
    CHECK(after["manifests"][0].begin().key() == "mediaType");
    CHECK(after["annotations"].size() == 2);
    CHECK(after["manifests"].size() == 2);
    CHECK(after["mediaType"] == oci_media_types::index);
}

TEST_CASE("an index.json of umoci is one without images", "[layout]") {
    std::string const umoci = R"({"schemaVersion":2,"manifests":null})";
    CHECK(parse_layout_index(umoci, "").empty());
    CHECK(names(merge(umoci, {named_entry(image("a"), {"", "1"})})) == std::vector<std::string>{"|1"});
}

TEST_CASE("a broken index.json is refused and named", "[layout]") {
    auto const text = GENERATE(
        as<std::string>{}, "", "{", "[]", "null", R"({"schemaVersion":2})",
        R"({"schemaVersion":1,"manifests":[]})", R"({"schemaVersion":2,"manifests":{}})",
        R"({"schemaVersion":2,"manifests":[1]})", R"({"schemaVersion":2,"manifests":[{}]})",
        R"({"schemaVersion":2,"manifests":[],"manifests":[]})",
        R"({"schemaVersion":2,"manifests":[],"Manifests":[]})",
        R"({"schemaVersion":2,"manifests":[],"layers":[]})", R"({"schemaVersion":2,"manifests":[]} x)");
    CHECK_THROWS_AS(merge(text, {}), format_error);
    try {
        (void)merge_layout_index(text, {}, "some/index.json");
    } catch (format_error const& failure) {
        CHECK(failure.subject() == "some/index.json");
    }
}

TEST_CASE("an index.json does not outgrow what can be read", "[layout]") {
    auto entry = image("a");
    entry.annotations["big"] = std::string(max_document_size, 'x');
    CHECK_THROWS_AS(merge({}, {entry}), format_error);
}

TEST_CASE("an image is found by what it is called", "[layout]") {
    std::vector<descriptor> const entries{
        named_entry(image("a"), {"docker.io/library/app:1", "1"}),
        named_entry(image("b"), {"docker.io/library/web:1", "1"}),
        named_entry(image("b"), {"docker.io/library/web:2", "2"}),
        named_entry(image("b"), {"docker.io/library/web:latest", "2"}),
        named_entry(image("c"), {"", "docker.io/library/app:1"}), // a full name beats a ref.name
        image("d")};
    auto const find = [&](std::string_view name) { return find_entry(entries, name, "some/layout"); };
    CHECK(find("docker.io/library/app:1") == entries[0]);
    CHECK(find("docker.io/library/web:1") == entries[1]);
    CHECK(find("2") == entries[2]); // twice, but the same image
    CHECK(find(image("d").digest.text()) == entries[5]);

    struct row {
        std::string name, message;
    };
    auto const wrong = GENERATE(values<row>({{"1", "several are called '1'"},
                                             {"3", "none is called '3'"},
                                             {"", "it holds several"},
                                             {"app:1", "docker.io/library/app:1, docker.io/library/web:1"},
                                             {"\x1b[31m", "\\x1b[31m"}}));
    try {
        find(wrong.name);
        FAIL("no error");
    } catch (error const& failure) {
        CHECK(failure.code() == error_code::not_found);
        CHECK_THAT(failure.what(), Contains(wrong.message) && Contains("some/layout"));
    }
}

TEST_CASE("without a name the only image is meant", "[layout]") {
    std::vector<descriptor> entries;
    CHECK_THROWS_WITH(find_entry(entries, "", "x"), Contains("holds no image"));
    CHECK_THROWS_WITH(find_entry(entries, "a", "x"), Contains("holds no image"));
    entries.push_back(named_entry(image("a"), {"", "1"}));
    CHECK(find_entry(entries, "", "x") == entries[0]);
    entries.push_back(named_entry(image("a"), {"", "2"}));
    CHECK(find_entry(entries, "", "x") == entries[0]);
}

TEST_CASE("only version 1.0.0 of the layout is understood", "[layout]") {
    check_layout_header(layout_header, "oci-layout");
    check_layout_header("{ \"x\": 1, \"imageLayoutVersion\": \"1.0.0\" }\n", "oci-layout");
    auto const text = GENERATE(as<std::string>{}, "", "{}", "[]", R"({"imageLayoutVersion":"2.0.0"})",
                               R"({"imageLayoutVersion":1})", R"({"imageLayoutVersion":null})",
                               R"({"imageLayoutVersion":"1.0.0","imageLayoutVersion":"1.0.0"})");
    CHECK_THROWS_AS(check_layout_header(text, "oci-layout"), format_error);
}

TEST_CASE("a name as people write it", "[layout_index]") {
    descriptor root{.media_type = std::string{oci_media_types::manifest},
                    .digest = digest::of<sha256>(as_bytes("x")),
                    .size = 1};
    std::vector const entries{named_entry(root, {"docker.io/library/app:latest", "latest"})};
    for (auto const* name : {"app", "app:latest", "docker.io/library/app:latest", "latest", ""})
        CHECK(find_reference(entries, name, "x").digest == root.digest);
    CHECK(find_reference(entries, root.digest.text(), "x").digest == root.digest);
    CHECK_THROWS_WITH(find_reference(entries, "app:1", "x"), Contains("'app:1'"));
}

TEST_CASE("entries are dropped from an index.json, the rest of it stays", "[layout_index]") {
    auto const entry = [](char const* name) {
        return R"({"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:)" +
               std::string(64, 'a') + R"(","size":1,"x":"unknown","annotations":{"n":")" + name + "\"}}";
    };
    auto const text = [](std::string const& manifests) {
        return R"({"schemaVersion":2,"y":"unknown","manifests":[)" + manifests + "]}";
    };
    auto const all = text(entry("0") + "," + entry("1") + "," + entry("2"));
    CHECK(drop_from_layout_index(all, {0, 2}, "x") == text(entry("1")));
    CHECK(drop_from_layout_index(all, {}, "x") == all);
    CHECK(drop_from_layout_index(all, {0, 1, 2}, "x") == text(""));
    CHECK_THROWS_AS(drop_from_layout_index("{", {0}, "x"), format_error);
}
