#include <shiplap/sink/layout.hpp>

#include "store/samples.hpp"
#include "support/catch.hpp"
#include "support/temp.hpp"

#include <optional>

using namespace samples;

static_assert(storing_sink<layout_sink> && !arranging_sink<layout_sink> && std::movable<layout_sink>);

TEST_CASE("layout_sink shows everything at commit", "[sink]") {
    temp_dir folder;
    auto const path = folder / "layout";
    layout_sink sink{path};
    auto const facts = facts_of("hello");
    descriptor const layer{
        .media_type = std::string{oci_media_types::layer("")}, .digest = facts.digest, .size = facts.size};
    CHECK_FALSE(sink.exists(layer));
    span_source source{std::string_view{"hello"}};
    sink.put(layer, source);
    CHECK(sink.exists(layer));
    auto const root = put_manifest(sink.store(), {layer}, "someone");
    sink.tag(root, name("1"));
    sink.tag(root, {"docker.io/library/app", ""});
    CHECK(snapshot(folder.path().string()).size() == 1);
    auto moved = std::move(sink);
    moved.commit();

    layout_store const layout{path};
    REQUIRE(layout.entries().size() == 2);
    CHECK(name_of_entry(layout.entries()[0]) == name("1"));
    CHECK(layout.entries()[1].annotations ==
          annotation_map{{"io.containerd.image.name", "docker.io/library/app"}});
    CHECK(read_all(layout.reader(layer.digest)) == "hello");

    // A second image through the same sink; the first tags are not written again.
    auto const second = put_image(moved.store(), {"more"});
    moved.tag(second, {});
    moved.commit();
    CHECK(layout.entries().size() == 3);
    CHECK(layout.entries()[2].annotations.empty());
}

TEST_CASE("layout_sink without commit leaves no trace", "[sink]") {
    temp_dir folder;
    auto const path = folder / "layout";
    auto const existing = GENERATE(true, false);
    if (existing) {
        layout_sink sink{path};
        sink.tag(put_image(sink.store(), {"a"}), name("1"));
        sink.commit();
    }
    auto const before = snapshot(folder.path().string());
    {
        layout_sink sink{path};
        sink.tag(put_image(sink.store(), {"b"}), name("2"));
    }
    CHECK(snapshot(folder.path().string()) == before);
}

TEST_CASE("layout_sink sees through damaged blobs", "[sink]") {
    temp_dir folder;
    auto const path = folder / "layout";
    std::optional<descriptor> root;
    {
        layout_sink sink{path};
        root = put_image(sink.store(), {"hello"});
        sink.tag(*root, name("1"));
        sink.commit();
        CHECK(sink.exists(*root));
    }
    write_text(blob_path(path, root->digest), std::string(root->size, ' '));
    CHECK_FALSE(layout_sink{path}.exists(*root));
}
