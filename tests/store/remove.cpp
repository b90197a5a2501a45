#include <shiplap/store/remove.hpp>

#include "store/samples.hpp"
#include "support/catch.hpp"
#include "support/temp.hpp"

#include <thread>

using namespace samples;
using Catch::Matchers::Contains;

namespace {

descriptor add(std::string const& path, std::vector<image_name> const& names, std::string const& text) {
    layout_store layout{path};
    auto const root = put_image(layout, {text});
    std::vector<descriptor> entries;
    for (auto const& name : names) entries.push_back(named_entry(root, name));
    layout.publish(entries);
    return root;
}

std::vector<descriptor> remove(std::string const& path, std::vector<std::string> const& names) {
    return remove_names(path, names);
}

} // namespace

TEST_CASE("names are removed, and only they", "[remove]") {
    temp_dir const tmp;
    auto const path = tmp / "store";
    auto const one = add(path, {name("1"), name("one")}, "a"), two = add(path, {name("2")}, "b");
    auto const files = snapshot(path).size();
    CHECK(remove(path, {"app:1"}).size() == 1);
    CHECK(layout_store{path}.resolve("one").digest == one.digest);
    CHECK_THROWS_WITH(remove(path, {"app:one", "app:1"}),
                      Contains("app:1") && Contains("docker.io/library/app:2"));
    CHECK_THROWS_WITH(remove(path, {""}), Contains("empty"));
    CHECK(layout_store{path}.entries().size() == 2); // all or none
    CHECK(remove(path, {"app:2", "2"}).size() == 1);
    CHECK(remove(path, {one.digest.text()}).size() == 1);
    CHECK(layout_store{path}.entries().empty());
    CHECK(snapshot(path).size() == files);
    CHECK_THROWS_WITH(remove(path, {"app:2"}), Contains("holds no image"));
    CHECK(layout_store{path}.contains(two.digest));
}

TEST_CASE("a digest means all names of an image", "[remove]") {
    temp_dir const tmp;
    auto const path = tmp / "store";
    auto const root = add(path, {name("1"), name("one"), {}}, "a");
    add(path, {name("2")}, "b");
    CHECK(remove(path, {root.digest.text()}).size() == 3);
    CHECK(layout_store{path}.entries().size() == 1);
}

TEST_CASE("there is nothing to remove from where no layout is", "[remove]") {
    temp_dir const tmp;
    CHECK_THROWS_WITH(remove(tmp / "none", {"app"}), Contains("no OCI image layout"));
    CHECK(snapshot(tmp / "none").empty());
}

TEST_CASE("removing and exporting at the same time", "[remove]") {
    temp_dir const tmp;
    auto const path = tmp / "store";
    for (int i = 0; i < 10; ++i) add(path, {name("old" + std::to_string(i))}, "x");
    std::thread other{[&] {
        for (int i = 0; i < 10; ++i) add(path, {name("new" + std::to_string(i))}, std::to_string(i));
    }};
    for (int i = 0; i < 10; ++i) CHECK(remove(path, {"app:old" + std::to_string(i)}).size() == 1);
    other.join();
    CHECK(layout_store{path}.entries().size() == 10);
}
