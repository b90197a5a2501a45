#include <shiplap/codec/gzip.hpp>
#include <shiplap/codec/zstd.hpp>
#include <shiplap/export/exporter.hpp>
#include <shiplap/export/rebase.hpp>
#include <shiplap/sink/memory.hpp>

#include "support/catch.hpp"
#include "support/sample_image.hpp"

using namespace shiplap;

namespace {

/// An exporter, and the images that it made as bases.
struct workshop {
    exporter<gzip, oci_media_types, sha256, memory_sink> out{gzip{}, oci_media_types{}, sha256{},
                                                             memory_sink{}};

    exported_image make(build_result const& result, export_options const& options = {.epoch = 60}) {
        return out(result, options);
    }
    base_image read(exported_image const& image) { return read_base(out.sink().store(), image.root); }
    std::string config(exported_image const& image) { return read_blob(out.sink().store(), image.config); }
    image_manifest manifest(exported_image const& image) {
        return parse_manifest(read_blob(out.sink().store(), image.root), "m", image.root.media_type);
    }
};

any_layer_source layer(std::string const& content) {
    static std::map<std::string, std::string> tars; // outlive the layers
    auto file = tar_file(content, content);
    file.entry.mtime = {1000, 0}; // later than the epochs below
    auto const& tar = tars.try_emplace(content, make_tar({file})).first->second;
    return tar_layer{span_source{tar}, content};
}

platform const arm64{.os = "linux", .architecture = "arm64"};

build_result base_of(std::vector<std::string> const& contents, std::vector<std::string> env) {
    build_result result{.platform = arm64};
    for (auto const& content : contents) result.layers.push_back(layer(content));
    result.changes.env = std::move(env);
    result.changes.labels = {{"base", contents.front()}};
    return result;
}

/// An image without layers, to merge configurations; `members` follow those that each has.
base_image bare(std::string const& members) {
    auto config = R"({"architecture":"arm64","os":"linux",)" + members + (members.empty() ? "" : ",") +
                  R"("rootfs":{"type":"layers","diff_ids":[]}})";
    auto const history = read_config(config, "c").history;
    return {
        .root = {.media_type = {}, .digest = digest::of<sha256>({})}, .config = config, .history = history};
}

std::string merged_member(std::string const& name, std::string const& image, std::string const& old_base,
                          std::string const& new_base) {
    auto const members = detail::split_members(*rebase(bare(image), bare(old_base), bare(new_base)).config);
    auto const found = members.find(name);
    return found == members.end() ? "none" : found->second;
}

} // namespace

TEST_CASE("an image upon its own base is that image again", "[rebase]") {
    workshop work;
    auto const old_base = work.make(base_of({"old 1", "old 2"}, {"A=1"}));
    build_result app{.layers = {layer("app")}, .base = work.read(old_base)};
    app.changes.env = {"A=2", "C=3"};
    app.annotations = {{"of", "the app"}};
    auto const image = work.make(app);

    auto const again = work.make(rebase(work.read(image), work.read(old_base), work.read(old_base)));
    CHECK(again.root.digest == image.root.digest);
}

TEST_CASE("an image goes upon another base and back", "[rebase]") {
    workshop work;
    auto const old_base = work.make(base_of({"old 1", "old 2"}, {"A=1"}));
    auto const new_base = work.make(base_of({"new 1", "new 2", "new 3"}, {"B=2", "A=4"}), {.epoch = 90});
    build_result app{.layers = {layer("app 1"), layer("app 2")}, .base = work.read(old_base)};
    app.changes.env = {"C=3"};
    app.changes.labels = {{"app", "1"}};
    app.changes.cmd = {"run"};
    app.annotations = {{"of", "the app"}};
    auto const image = work.make(app, {.epoch = 70});

    auto const moved =
        work.make(rebase(work.read(image), work.read(old_base), work.read(new_base)), {.epoch = 70});
    auto const manifest = work.manifest(moved), below = work.manifest(new_base),
               before = work.manifest(image);
    REQUIRE(manifest.layers.size() == 5);
    CHECK(std::equal(below.layers.begin(), below.layers.end(), manifest.layers.begin()));
    CHECK(std::equal(before.layers.begin() + 2, before.layers.end(), manifest.layers.begin() + 3));
    CHECK(manifest.annotations == before.annotations);
    auto const text = work.config(moved);
    CHECK_THAT(text, contains(R"("B=2","A=4","C=3"])") && contains(R"("Cmd":["run"])") &&
                         contains(R"("Labels":{"app":"1","base":"new 1"})"));
    auto const config = read_config(text, "c"), of_image = read_config(work.config(image), "c"),
               of_base = read_config(work.config(new_base), "c");
    REQUIRE(config.history.size() == 5);
    CHECK(std::equal(of_base.history.begin(), of_base.history.end(),
                     config.history.begin())); // whatever the epoch
    CHECK(std::equal(of_image.history.begin() + 2, of_image.history.end(), config.history.begin() + 3));
    CHECK(config.created == of_image.created);

    auto const back =
        work.make(rebase(work.read(moved), work.read(new_base), work.read(old_base)), {.epoch = 70});
    CHECK(back.config.digest == image.config.digest);
    CHECK(back.root.digest == image.root.digest);
}

TEST_CASE("what an export says goes for the image's own layers, not for the new base", "[rebase]") {
    workshop work;
    auto const old_base = work.make(base_of({"old"}, {})), new_base = work.make(base_of({"new"}, {}));
    auto const image = work.make({.layers = {layer("app")}, .base = work.read(old_base)}, {.epoch = 70});
    build_result with{.names = {"app"}};
    with.changes.user = "me";
    auto const result = rebase(work.read(image), work.read(old_base), work.read(new_base), with);
    CHECK(result.names == with.names);
    REQUIRE(result.layers.size() == 1);
    REQUIRE(result.base);
    CHECK(result.base->layers.size() == 1);

    auto const moved = work.make(result, {.epoch = 30});
    auto const config = read_config(work.config(moved), "c");
    CHECK_THAT(work.config(moved), contains(R"("User":"me")"));
    CHECK(config.history[0].created == zoned_time{{60, 0}, 0});
    CHECK(config.history[1].created == zoned_time{{30, 0}, 0});
    CHECK(config.created == zoned_time{{30, 0}, 0});
}

TEST_CASE("what is not built upon the old base is refused by its first layer", "[rebase]") {
    workshop work;
    auto const read = [&](std::vector<std::string> const& contents) {
        return work.read(work.make(base_of(contents, {})));
    };
    auto const image = read({"1", "2", "3"}), new_base = read({"new"});
    struct row {
        std::vector<std::string> old_base;
        std::string layer, agree;
    };
    auto const& [contents, place, agree] = GENERATE(values<row>({
        {{"2"}, "layer 1", "0 of the 1 layers"},
        {{"1", "x", "3"}, "layer 2", "1 of the 3 layers"},
        {{"1", "2", "3", "4"}, "layer 4", "3 of the 4 layers"},
    }));
    auto const old_base = read(contents);
    CHECK_THROWS_WITH(rebase(image, old_base, new_base), contains(place) && contains(agree));
    CHECK_NOTHROW(rebase(image, image, new_base));
    CHECK(rebase(image, image, new_base).layers.empty());
}

TEST_CASE("images of several platforms do not go upon each other", "[rebase]") {
    auto const image = bare("");
    auto other = image;
    other.config.replace(other.config.find("arm64"), 5, "amd64");
    CHECK_THROWS_WITH(rebase(image, other, image),
                      contains("linux/arm64") && contains("old base is linux/amd64"));
    CHECK_THROWS_WITH(rebase(image, image, other),
                      contains("linux/arm64") && contains("new base is linux/amd64"));
    auto const of_version = [&](std::string const& version) {
        return bare(R"("os.version":")" + version + "\"");
    };
    CHECK_THAT(*rebase(of_version("1"), of_version("1"), of_version("2")).config,
               contains(R"("os.version":"2")"));
}

TEST_CASE("settings are merged: what the image changed stays, all else is the new base's", "[rebase]") {
    struct row {
        std::string image, old_base, new_base, expected; // of "config", without its braces
    };
    auto const& [image, old_base, new_base, expected] = GENERATE(values<row>({
        // whole members
        {R"("User":"a")", R"("User":"a")", R"("User":"b")", R"("User":"b")"},
        {R"("User":"c")", R"("User":"a")", R"("User":"b")", R"("User":"c")"},
        {R"("User":"a")", R"("User":"a")", "", ""},
        {"", R"("User":"a")", R"("User":"b")", ""},
        {"", "", R"("User":"b")", R"("User":"b")"},
        {R"("User":"c")", "", "", R"("User":"c")"},
        {R"("Cmd":null)", R"("Cmd":["a"])", R"("Cmd":["b"])", R"("Cmd":null)"},
        {R"("Cmd":null)", "", R"("Cmd":["b"])", R"("Cmd":["b"])"},
        {R"("Cmd":["a"],"Own":1)", R"("Cmd":["a"])", R"("Entrypoint":["e"],"Cmd":["b"])",
         R"("Entrypoint":["e"],"Cmd":["b"],"Own":1)"},
        {R"("Healthcheck":{"Test":["x"],"Retries":1})", R"("Healthcheck":{"Test":["x"]})",
         R"("Healthcheck":{"Test":["y"]})", R"("Healthcheck":{"Test":["x"],"Retries":1})"},
        // the environment
        {R"("Env":["A=1","B=2"])", R"("Env":["A=1"])", R"("Env":["C=3","A=4"])",
         R"("Env":["C=3","A=4","B=2"])"},
        {R"("Env":["A=own"])", R"("Env":["A=1"])", R"("Env":["B=2","A=3"])", R"("Env":["B=2","A=own"])"},
        {R"("Env":["A=1","B=2"])", R"("Env":["A=1"])", R"("Env":["C=3"])", R"("Env":["C=3","B=2"])"},
        {R"("Env":["B=2"])", R"("Env":["A=1"])", R"("Env":["A=2"])", R"("Env":["B=2"])"},
        {R"("Env":["B=2","A=1"])", R"("Env":["A=1"])", R"("Env":["A=1"])", R"("Env":["B=2","A=1"])"},
        {R"("Env":["A=1","B"])", R"("Env":["A=1"])", "", R"("Env":["B"])"},
        // maps
        {R"("Labels":{"z":"1","a":"2"})", R"("Labels":{"z":"1"})", R"("Labels":{"z":"3","m":"4"})",
         R"("Labels":{"a":"2","m":"4","z":"3"})"},
        {R"("Labels":{"a":"own"})", R"("Labels":{"a":"1","b":"1"})", R"("Labels":{"a":"2","b":"2"})",
         R"("Labels":{"a":"own"})"},
        {R"("Labels":{"own":"1"})", R"("Labels":{"a":"1"})", R"("Labels":{"a":"1","b":"2"})",
         R"("Labels":{"b":"2","own":"1"})"},
        {R"("ExposedPorts":{"80/tcp":{},"90/tcp":{}})", R"("ExposedPorts":{"80/tcp":{}})",
         R"("ExposedPorts":{"70/tcp":{}})", R"("ExposedPorts":{"70/tcp":{},"90/tcp":{}})"},
        {R"("Volumes":{"/a":{}})", R"("Volumes":{"/a":{},"/b":{}})", "", ""},
    }));
    CAPTURE(image, old_base, new_base);
    auto const config = [](std::string const& members) { return R"("config":{)" + members + "}"; };
    CHECK(merged_member("config", config(image), config(old_base), config(new_base)) == "{" + expected + "}");
}

TEST_CASE("members of the configuration are merged as settings are", "[rebase]") {
    auto const author = [](std::string const& who) { return R"("author":")" + who + "\""; };
    CHECK(merged_member("author", author("a"), author("a"), author("b")) == R"("b")");
    CHECK(merged_member("author", author("c"), author("a"), author("b")) == R"("c")");
    CHECK(merged_member("author", author("a"), author("a"), "") == "none");
    CHECK(merged_member("docker_version", R"("docker_version":"1")", "", "") == R"("1")");
    auto const created = [](std::string const& year) {
        return R"("created":")" + year + R"(-01-01T00:00:00Z")";
    };
    CHECK(merged_member("created", created("2001"), created("2001"), created("2002")) ==
          R"("2001-01-01T00:00:00Z")");
    CHECK(merged_member("config", R"("config":{"User":"a"})", "", "") == R"({"User":"a"})");
    CHECK(merged_member("config", "", "", R"("config":{"User":"a"})") == R"({"User":"a"})");
    CHECK(merged_member("config", R"("config":null)", R"("config":{})", R"("config":{"User":"a"})") ==
          R"({"User":"a"})");
    for (auto const* members : {"", R"("config":{"User":"\u00e9<"}, "x": 1.50)"}) // as it was written
        CHECK(rebase(bare(members), bare(""), bare("")).config == bare(members).config);
}

TEST_CASE("histories are put together", "[rebase]") {
    auto const entries = [](std::vector<std::string> const& steps) {
        std::string out;
        for (auto const& step : steps)
            out += (out.empty() ? "" : ",") + std::string{R"({"created_by":")"} + step + "\"" +
                   (step.starts_with("set") ? R"(,"empty_layer":true})" : "}");
        return "[" + out + "]";
    };
    auto const steps_above = [&](std::vector<std::string> const& image, std::vector<std::string> const& base,
                                 std::size_t layers) {
        auto const all = parse_json(entries(image), "i"), below = parse_json(entries(base), "b");
        std::vector<std::string> out;
        for (auto const& entry : read_history({detail::history_above(&all, &below, layers), "h"}))
            out.push_back(entry.created_by);
        return out;
    };
    using steps = std::vector<std::string>;
    CHECK(steps_above({"a", "set b", "c", "set d"}, {"a", "set b"}, 1) == steps{"c", "set d"});
    CHECK(steps_above({"x", "set b", "c"}, {"a", "set b"}, 1) == steps{"set b", "c"}); // not its history
    CHECK(steps_above({"a", "b"}, {}, 1) == steps{"b"});                               // the base has none
    CHECK(steps_above({"set b", "a"}, {}, 0) == steps{"set b", "a"});
    CHECK(steps_above({}, {"a"}, 1).empty());
    CHECK(steps_above({"a"}, {"a", "set b"}, 1).empty());
    CHECK(detail::history_above(nullptr, nullptr, 1).empty());
}

TEST_CASE("a new base without a history gets entries for its layers", "[rebase]") {
    workshop work;
    auto const old_base = work.make(base_of({"old"}, {}));
    auto const image = work.make({.layers = {layer("app")}, .base = work.read(old_base)});
    auto const bare_base = make_image(table_of<oci_media_types>, "gzip"); // linux/arm64
    auto const moved =
        work.make(rebase(work.read(image), work.read(old_base), read_base(bare_base.blobs, bare_base.root)));
    auto const history = read_config(work.config(moved), "c").history;
    REQUIRE(history.size() == 3);
    CHECK(history[0].created_by == "layer of the base image");
    CHECK(history[2] == read_config(work.config(image), "c").history[1]);
}
