#include <shiplap/image/config.hpp>

#include "support/catch.hpp"

#include <string>
#include <vector>

using namespace shiplap;

namespace {

std::string const id = "sha256:" + std::string(64, '1');

std::vector<layer_blob> layers(std::size_t count) {
    auto const name = digest::parse(id);
    return std::vector<layer_blob>(count, {.blob = {name, 1}, .diff_id = name, .created = timestamp{100, 0}});
}

std::string finish(std::string_view text, std::size_t layer_count = 0,
                   std::optional<std::int64_t> epoch = {}) {
    std::vector<std::string> warnings;
    return finish_config(text, "c", layers(layer_count), {}, epoch, warnings);
}

std::string const minimal = R"({"architecture":"amd64","os":"linux"})";
std::string const rootfs0 = R"("rootfs":{"type":"layers","diff_ids":null})";

} // namespace

TEST_CASE("config: the default") {
    CHECK(default_config({.os = "linux", .architecture = "arm", .variant = "v7"}) ==
          R"({"architecture":"arm","os":"linux","variant":"v7","config":{"Env":["PATH=/usr/local/sbin:)"
          R"(/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],"WorkingDir":"/"},"rootfs":{"type":"layers",)"
          R"("diff_ids":null}})");
    auto const windows = default_config({.os = "windows", .architecture = "amd64", .os_version = "10.0"});
    CHECK(windows.find("Env") == std::string::npos);
    CHECK(read_config(windows, "c").platform ==
          platform{.os = "windows", .architecture = "amd64", .os_version = "10.0"});
}

TEST_CASE("config: rootfs, history and created are made anew, top-level names sorted, all else stays") {
    struct row {
        std::string in, out;
    };
    auto const [in, out] = GENERATE_COPY(values<row>({
        {minimal, R"({"architecture":"amd64","created":null,"history":null,"os":"linux",)" + rootfs0 + "}"},
        {R"({ "os" : "linux", "architecture":"amd64" , "z":{ "b" : [ 1.50 , 1e3, -0 ], "a":"\u0041\/ <&>" },"":0 })",
         R"({"":0,"architecture":"amd64","created":null,"history":null,"os":"linux",)" + rootfs0 +
             R"(,"z":{"b":[1.50,1e3,-0],"a":"\u0041\/ \u003c\u0026\u003e"}})"},
        {R"({"os":"linux","architecture":"amd64","history":[],"rootfs":"nonsense"})",
         R"({"architecture":"amd64","created":null,"history":[],"os":"linux",)" + rootfs0 + "}"},
        {R"({"os":"linux","architecture":"amd64","history":null,"created":null})",
         R"({"architecture":"amd64","created":null,"history":null,"os":"linux",)" + rootfs0 + "}"},
        {R"({"os":"linux","architecture":"amd64","a\"}{,:":"\"}{,:","k\u0026":1})",
         R"({"a\"}{,:":"\"}{,:","architecture":"amd64","created":null,"history":null,"k\u0026":1,"os":"linux",)" +
             rootfs0 + "}"},
        {R"({"os":"linux","architecture":"amd64","big":123456789012345678901234567890})",
         R"({"architecture":"amd64","big":123456789012345678901234567890,"created":null,"history":null,)"
         R"("os":"linux",)" +
             rootfs0 + "}"},
    }));
    CAPTURE(in);
    CHECK(finish(in) == out);
    CHECK(finish(out) == out);
}

TEST_CASE("config: layers fill rootfs and history") {
    CHECK(
        finish(minimal, 2) ==
        R"({"architecture":"amd64","created":"1970-01-01T00:01:40Z","history":[)"
        R"({"created":"1970-01-01T00:01:40Z","created_by":"created by shiplap","comment":"shiplap.exporter.image.v0"},)"
        R"({"created":"1970-01-01T00:01:40Z","created_by":"created by shiplap","comment":"shiplap.exporter.image.v0"}],)"
        R"("os":"linux","rootfs":{"type":"layers","diff_ids":[")" +
            id + R"(",")" + id + R"("]}})");
}

TEST_CASE("config: created is kept or clamped if it is there, otherwise that of the last entry with one") {
    struct row {
        std::string members;
        std::optional<std::int64_t> epoch;
        std::string created;
    };
    auto const rows = std::vector<row>{
        {"", {}, R"("1970-01-01T00:01:40Z")"},
        {"", 50, R"("1970-01-01T00:00:50Z")"},
        {"", 200, R"("1970-01-01T00:01:40Z")"},
        {R"(,"created":null)", {}, "null"},
        {R"(,"created":null)", 50, "null"},
        {R"(,"created":"2020-01-01T00:00:00.50+01:00")",
         {},
         R"("2020-01-01T00:00:00.50+01:00")"}, // untouched
        {R"(,"created":"1970-01-01T00:00:10Z")", 50, R"("1970-01-01T00:00:10Z")"},
        {R"(,"created":"1970-01-01T00:00:50.000000001Z")", 50, R"("1970-01-01T00:00:50Z")"},
        {R"(,"created":"1970-01-01T01:00:50+01:00")", 50, R"("1970-01-01T01:00:50+01:00")"},
    };
    for (auto const& [members, epoch, created] : rows) {
        CAPTURE(members);
        auto const text = finish(R"({"architecture":"amd64","os":"linux")" + members + "}", 1, epoch);
        CHECK_THAT(text, contains("\"created\":" + created + ",\"history\""));
    }
}

TEST_CASE("config: what does not fit is told") {
    std::vector<std::string> warnings;
    auto const text = finish_config(R"({"architecture":"amd64","os":"linux","history":[{},{}]})", "c",
                                    layers(1), {}, {}, warnings);
    REQUIRE(warnings.size() == 1);
    CHECK_THAT(warnings[0], contains("2 entries with a layer, the image has 1 layers"));
    CHECK_THAT(text, contains(R"("empty_layer":true)"));
}

TEST_CASE("config: what is none is refused") {
    struct row {
        std::string text, reason;
    };
    auto const start = std::string{R"({"architecture":"amd64","os":"linux",)"};
    auto const [text, reason] = GENERATE_COPY(values<row>({
        {"null", "invalid null image config for export"},
        {"{}", "invalid image config for export: missing os"},
        {R"({"architecture":"amd64"})", "invalid image config for export: missing os"},
        {R"({"architecture":"amd64","os":""})", "invalid image config for export: missing os"},
        {R"({"architecture":"amd64","os":null})", "invalid image config for export: missing os"},
        {R"({"os":"linux"})", "invalid image config for export: missing architecture"},
        {R"({"os":"linux"})", "invalid image config: os and architecture must be specified together"},
        {R"({"architecture":"amd64"})",
         "invalid image config: os and architecture must be specified together"},
        {"[]", "must be an object"},
        {"\"x\"", "must be an object"},
        {"", "parse error"},
        {R"({"architecture":1,"os":"linux"})", "'/architecture'"},
        {R"({"architecture":"amd64","OS":"linux"})", "must be written \"os\""},
        {start + R"("History":[]})", "must be written \"history\""},
        {start + R"("os":"linux"})", "take for the same"},
        {start + R"("os.features":"x"})", "'/os.features'"},
        {start + R"("created":7})", "'/created'"},
        {start + R"("created":"now"})", "'/created'"},
        {start + R"("author":{}})", "'/author'"},
        {start + R"("history":{}})", "'/history'"},
        {start + R"("history":[{"created":"x"}]})", "'/history/0/created'"},
        {start + R"("config":[]})", "'/config'"},
        {start + R"("config":{"env":[]}})", "must be written \"Env\""},
        {start + R"("config":{"Env":"A=b"}})", "'/config/Env'"},
        {start + R"("config":{"Cmd":[1]}})", "'/config/Cmd/0'"},
        {start + R"("config":{"Entrypoint":{}}})", "'/config/Entrypoint'"},
        {start + R"("config":{"User":0}})", "'/config/User'"},
        {start + R"("config":{"Labels":{"a":1}}})", "'/config/Labels'"},
        {start + R"("config":{"ExposedPorts":[]}})", "'/config/ExposedPorts'"},
    }));
    CAPTURE(text);
    CHECK_THROWS_AS(finish(text), format_error);
    CHECK_THROWS_WITH(finish(text), contains("'c'") && contains(reason));
}

TEST_CASE("config: reading one that is finished") {
    auto const text =
        finish(R"({"architecture":"arm64","os":"linux","variant":"v8","os.features":["f"],)"
               R"("created":"2020-01-01T00:00:00Z","history":[{"comment":"x","empty_layer":true}]})",
               2);
    auto const config = read_config(text, "c");
    CHECK(config.platform ==
          platform{.os = "linux", .architecture = "arm64", .variant = "v8", .os_features = {"f"}});
    CHECK(config.created == zoned_time{{1577836800, 0}, 0});
    CHECK(config.diff_ids == std::vector<digest>(2, digest::parse(id)));
    CHECK(config.history.size() == 3);

    auto const bad = GENERATE(values<std::string>({"", R"(,"rootfs":{})", R"(,"rootfs":{"type":"base"})",
                                                   R"(,"rootfs":{"type":"layers","diff_ids":{}})",
                                                   R"(,"rootfs":{"type":"layers","diff_ids":["x"]})"}));
    CHECK_THROWS_AS(read_config(R"({"architecture":"amd64","os":"linux")" + bad + "}", "c"), format_error);
}

TEST_CASE("config: with a base, its history stays, and what fits already stays to the byte") {
    auto const rootfs = R"("rootfs":{"diff_ids":[")" + id + R"("],"type":"layers"})";
    auto const base = R"({"os":"linux", "architecture":"amd64","created":"2001-01-01T00:00:00Z",)"
                      R"("history":[{"x":1,"created":"2001-01-01T00:00:00Z"}],)" +
                      rootfs + "}";
    auto const history = read_config(base, "c").history;
    std::vector<std::string> warnings;
    auto const finish_base = [&](std::string const& text, std::size_t count,
                                 std::optional<std::int64_t> epoch) {
        return finish_config(text, "c", layers(count), {}, epoch, warnings, history);
    };
    CHECK(finish_base(base, 1, {}) == base);
    CHECK(finish_base(base, 1, 2'000'000'000) == base);
    CHECK(finish_base(base, 1, 60) ==
          R"({"architecture":"amd64","created":"1970-01-01T00:01:00Z",)"
          R"("history":[{"x":1,"created":"2001-01-01T00:00:00Z"}],"os":"linux",)" +
              rootfs + "}");

    auto const more = read_config(finish_base(inherited_config(base, "c"), 2, 60), "c");
    REQUIRE(more.history.size() == 2);
    CHECK(more.history[0] == history[0]); // later than the epoch
    CHECK(more.history[1].created == zoned_time{{60, 0}, 0});
    CHECK(more.created == zoned_time{{60, 0}, 0});
    CHECK(more.diff_ids.size() == 2);

    // An image that has no base: what fits stays, but for times that are too late.
    auto const finish_image = [&](std::int64_t epoch) {
        return finish_config(base, "c", layers(1), {}, epoch, warnings, std::vector<history_entry>{});
    };
    CHECK(finish_image(2'000'000'000) == base);
    CHECK(finish_image(60) == R"({"architecture":"amd64","created":"1970-01-01T00:01:00Z",)"
                              R"("history":[{"created":"1970-01-01T00:01:00Z"}],"os":"linux",)"
                              R"("rootfs":{"type":"layers","diff_ids":[")" +
                                  id + "\"]}}");

    auto const forged = finish_config(inherited_config(base, "c"), "c", layers(2), {}, 60, warnings,
                                      std::vector<history_entry>{{.created_by = "another"}});
    CHECK(read_config(forged, "c").history[0].created == zoned_time{{60, 0}, 0});
    CHECK(warnings.empty());
}

TEST_CASE("config: what is inherited is what image-spec knows, without the time") {
    CHECK(
        inherited_config(
            R"({"os":"linux","architecture":"amd64","author":"me","config":{"Env":["A=1"],"z":1},)"
            R"("created":"2001-01-01T00:00:00Z","container_config":{},"docker_version":"1",)"
            R"("moby.buildkit.cache.v0":"x","variant":"v2"})",
            "c") ==
        R"({"architecture":"amd64","author":"me","config":{"Env":["A=1"],"z":1},"os":"linux","variant":"v2"})");
}
