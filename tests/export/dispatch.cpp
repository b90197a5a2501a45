#include <shiplap/export/dispatch.hpp>
#include <shiplap/layer/directory.hpp>
#include <shiplap/sink/memory.hpp>
#include <shiplap/store/docker_archive.hpp>
#include <shiplap/store/oci_archive.hpp>

#include "far_registries.hpp"
#include "support/catch.hpp"
#include "support/temp.hpp"
#include "support/trees.hpp"

using namespace shiplap;
using namespace shiplap_test;

namespace {

build_result sample(temp_dir const& dir) {
    trees::write(dir / "tree/a/x", "content of x");
    trees::write(dir / "tree/y", std::string(3'000'000, 'y'), 0600);
    return {.layers = {directory_layer{.path = dir / "tree", .owners = root_owned}},
            .platform = platform{.os = "linux", .architecture = "amd64"}};
}

exported_image run(std::string const& options, build_result const& result) {
    return export_image(export_spec::from(parse_attributes(options)), result);
}

template <class Codec, class MediaTypes, class Digest>
exported_image fixed(build_result const& result) {
    exporter out{Codec{}, MediaTypes{}, Digest{}, memory_sink{}};
    return out(result, {.names = {"example.com/app:1"}});
}

} // namespace

TEST_CASE("both faces give the same image", "[dispatch]") {
    temp_dir dir;
    auto const result = sample(dir);
    struct row {
        std::string options;
        exported_image (*fixed_policies)(build_result const&);
    };
    std::vector<row> const rows{
        {"compression=uncompressed,oci-mediatypes=false", fixed<uncompressed, docker_media_types, sha256>},
        {"compression=uncompressed,oci-mediatypes=true", fixed<uncompressed, oci_media_types, sha256>},
        {"compression=gzip,oci-mediatypes=false", fixed<gzip, docker_media_types, sha256>},
        {"compression=gzip,oci-mediatypes=true", fixed<gzip, oci_media_types, sha256>},
        {"compression=estargz", fixed<estargz, oci_media_types, sha256>},
        {"compression=zstd", fixed<zstd, oci_media_types, sha256>},
        {"compression=zstd,oci-mediatypes=false", fixed<zstd, docker_media_types, sha256>},
    };
    for (auto const& [options, fixed_policies] : rows) {
        CAPTURE(options);
        auto const chosen =
            run("type=docker,name=example.com/app:1,dest=" + dir / "out.tar" + "," + options, result);
        CHECK(chosen.root == fixed_policies(result).root);
    }
    auto spec = export_spec::from(
        parse_attributes("type=oci,name=example.com/app:1,compression=zstd,dest=" + dir / "out.tar"));
    spec.digest = sha512{};
    CHECK(export_image(spec, result).root == fixed<zstd, oci_media_types, sha512>(result).root);
}

TEST_CASE("every type of output puts the image where it should be", "[dispatch]") {
    temp_dir dir;
    auto const result = sample(dir);
    auto const expected = fixed<gzip, oci_media_types, sha256>(result).root.digest;

    run("type=oci,name=example.com/app:1,dest=" + dir / "oci.tar", result);
    CHECK(oci_archive_store{dir / "oci.tar"}.resolve("example.com/app:1").digest == expected);

    run("type=docker,oci-mediatypes=true,name=example.com/app:1,dest=" + dir / "docker.tar", result);
    CHECK(docker_archive_store{dir / "docker.tar"}.resolve("example.com/app:1").digest == expected);

    run("type=oci,tar=false,dest=" + dir / "layout", result); // without a name it is called latest
    CHECK(layout_store{dir / "layout"}.resolve("latest").digest == expected);

    auto spec = export_spec::from(parse_attributes("type=image,oci-mediatypes=true,name=example.com/app:1"));
    spec.store = dir / "store";
    export_image(spec, result);
    CHECK(layout_store{dir / "store"}.resolve("example.com/app:1").digest == expected);

    run("type=local,dest=" + dir / "root", result);
    CHECK(read_file(dir / "root/a/x", 100) == "content of x");

    run("type=tar,dest=" + dir / "root.tar", result);
    memory_store store;
    default_env env;
    CHECK(digest::of<sha256>(as_bytes(read_file(dir / "root.tar", 1 << 24))) ==
          pack<sha256>(result.layers[0], uncompressed{}, store, env).diff_id);
}

TEST_CASE("an epoch clamps the layers only if asked", "[dispatch]") {
    temp_dir dir;
    auto const result = sample(dir);
    auto const layer = [&](std::string const& more) {
        return run("type=oci,compression=uncompressed,dest=" + dir / "o.tar" + more, result).layers[0];
    };
    auto const plain = layer("");
    CHECK(layer(",source-date-epoch=5").diff_id == plain.diff_id);
    auto const rewritten = layer(",source-date-epoch=5,rewrite-timestamp=true");
    CHECK(rewritten.diff_id != plain.diff_id);
    CHECK(rewritten.annotations.at("buildkit/rewritten-timestamp") == "5");
}

TEST_CASE("several platforms by options give what the fixed policies give", "[dispatch]") {
    temp_dir dir;
    auto const amd64 = sample(dir);
    auto arm64 = amd64;
    arm64.platform = parse_platform("linux/arm64");
    arm64.attestations = {{std::string{spdx_predicate}, "{}"}};
    std::vector const results{amd64, arm64};
    auto const into = [&](std::string const& options, auto const& what) {
        return export_image(export_spec::from(parse_attributes(options)), what).root;
    };
    exporter out{gzip{}, oci_media_types{}, sha256{}, memory_sink{}};
    auto const wanted = out(results, {.names = {"example.com/app:1"},
                                      .for_platforms = {{parse_platform("linux/arm64"), {{"k", "v"}}}},
                                      .index_annotations = {{"i", "1"}}});
    std::string const how =
        ",name=example.com/app:1,annotation[linux/arm64/v8].k=v,annotation-index.i=1,dest=";
    CHECK(into("type=oci" + how + dir / "oci.tar", results) == wanted.root);
    CHECK(into("type=oci,tar=false" + how + dir / "layout", results).digest == wanted.root.digest);
    CHECK(oci_archive_store{dir / "oci.tar"}.resolve("example.com/app:1").digest == wanted.root.digest);

    // Attestations bring OCI's types along, one image with them fits into a docker archive.
    CHECK(into("type=docker,dest=" + dir / "d.tar", arm64).media_type == oci_media_types::index);
    CHECK(into("type=docker,dest=" + dir / "d.tar", amd64).media_type == docker_media_types::manifest);
    CHECK(into("type=docker,compatibility-version=30,dest=" + dir / "d.tar", arm64).digest !=
          into("type=docker,dest=" + dir / "d.tar", arm64).digest); // as artifacts
    auto const files =
        export_image(export_spec::from(parse_attributes("type=local,dest=" + dir / "files")), arm64);
    CHECK(files.root.media_type == docker_media_types::manifest);
    REQUIRE(files.warnings.size() == 1);
    CHECK_THAT(files.warnings[0], contains("attestations have no place"));

    struct row {
        std::string options, message;
        bool several;
    };
    std::vector<row> const rows{
        {"type=docker,dest=x", "docker exporter does not currently support exporting manifest lists", true},
        {"type=local,dest=x", "files of several platforms would be mixed", true},
        {"type=tar,dest=x", "files of several platforms would be mixed", true},
        {"type=oci,annotation[linux/arm].k=v,dest=x",
         "invalid annotation: no platform linux/arm/v7 found in source", true},
        {"type=image,oci-mediatypes=false", "cannot export attestations with \"oci-mediatypes=false\"", true},
        {"type=docker,oci-mediatypes=false,dest=x",
         "cannot export attestations with \"oci-mediatypes=false\"", false},
    };
    for (auto const& [options, message, several] : rows) {
        CAPTURE(options);
        auto const spec = export_spec::from(parse_attributes(options));
        if (several) {
            CHECK_THROWS_WITH(check_export(spec, results), contains(message));
            CHECK_THROWS_WITH(export_image(spec, results), contains(message));
        } else {
            CHECK_THROWS_WITH(check_export(spec, arm64), contains(message));
            CHECK_THROWS_WITH(export_image(spec, arm64), contains(message));
        }
    }
    auto const indexed = export_spec::from(parse_attributes("type=oci,annotation-index.i=1,dest=x"));
    CHECK_THROWS_WITH(check_export(indexed, amd64),
                      contains("index annotations not supported for single platform export"));
    CHECK_NOTHROW(check_export(indexed, arm64));
}

TEST_CASE("the default store follows the environment", "[dispatch]") {
    ::setenv("SHIPLAP_STORE", "/s", 1);
    CHECK(default_store() == "/s");
    ::unsetenv("SHIPLAP_STORE");
    ::setenv("XDG_DATA_HOME", "/data", 1);
    CHECK(default_store() == "/data/shiplap");
    ::unsetenv("XDG_DATA_HOME");
    ::setenv("HOME", "/h", 1);
    CHECK(default_store() == "/h/.local/share/shiplap");
}

TEST_CASE("an image is pushed, and kept unless that is not wanted", "[dispatch]") {
    struct row {
        std::string options;
        bool kept;
        std::vector<std::string> names, untagged;
    };
    auto const& [options, kept, names, untagged] = GENERATE(values<row>({
        {"type=registry,name=r.io/app:1", true, {"r.io/app:1"}, {}},
        {"type=image,push=true,name=r.io/app:1,store=true", true, {"r.io/app:1"}, {}},
        {"type=registry,name=r.io/app:1,store=false", false, {"r.io/app:1"}, {}},
        {"type=image,push=true,push-by-digest=true,name=r.io/app", true, {}, {"r.io/app"}},
        {"type=registry,dangling-name-prefix=r.io/app", true, {}, {"r.io/app"}},
    }));
    CAPTURE(options);
    temp_dir dir;
    auto spec = export_spec::from(parse_attributes(options));
    spec.store = dir / "store";
    far_away place;
    env_with_registries env{{}, {&place}};
    auto const image = export_image(spec, sample(dir), env);

    CHECK(place.connected != 0);
    CHECK(place.committed == 1);
    for (auto const& what : {image.root.digest, image.config.digest, image.layers.at(0).blob.digest})
        CHECK(place.there.store().contains(what));
    CHECK(place.asked.names.size() == names.size());
    for (std::size_t i = 0; i < names.size(); ++i) CHECK(place.asked.names.at(i).text() == names[i]);
    CHECK(place.asked.untagged.size() == untagged.size());
    CHECK(std::filesystem::exists(dir / "store/index.json") == kept);
    if (kept) CHECK(layout_store{dir / "store"}.contains(image.root.digest));
}

TEST_CASE("an image with layers that must be downloaded is not kept unless that is wanted", "[dispatch]") {
    struct row {
        bool below, is_remote;
        std::string options;
        bool kept;
    };
    auto const& [below, is_remote, options, kept] = GENERATE(values<row>({
        {true, true, "", false},
        {false, true, "", false},
        {true, false, "", true},
        {false, false, "", true},
        {false, true, ",store=true", true},
    }));
    CAPTURE(below, is_remote, options);
    temp_dir dir;
    exporter into_memory{gzip{}, oci_media_types{}, sha256{}, memory_sink{}};
    auto const base = into_memory(sample(dir));
    auto layer = base.layers.at(0);
    layer.is_remote = is_remote;
    any_layer_source const there{blob_in_store(into_memory.sink().store(), layer)};
    build_result result;
    if (below)
        result.base = base_image{.root = base.root,
                                 .config = read_blob(into_memory.sink().store(), base.config),
                                 .layers = {there}};
    else
        result.layers = {there};
    auto spec = export_spec::from(parse_attributes("type=registry,name=r.io/app:1" + options));
    spec.store = dir / "store";
    far_away place;
    env_with_registries env{{}, {&place}};
    export_image(spec, result, env);
    CHECK(std::filesystem::exists(dir / "store/index.json") == kept);
}

TEST_CASE("a name that the build brings is the image's", "[dispatch]") {
    temp_dir dir;
    auto result = sample(dir);
    auto const spec = export_spec::from(parse_attributes("type=oci,name=*,dest=" + (dir / "out.tar")));
    CHECK_THROWS_WITH(check_export(spec, result), contains("it brings none"));
    result.names = {"app"};
    CHECK_NOTHROW(check_export(spec, result));
    CHECK(export_image(spec, result).names == std::vector<std::string>{"docker.io/library/app:latest"});
    CHECK(oci_archive_store{dir / "out.tar"}.entries().at(0).annotations.at(image_name_annotation) ==
          "docker.io/library/app:latest");
}

TEST_CASE("without a way to registries nothing is pushed, and nothing done", "[dispatch]") {
    temp_dir dir;
    auto spec = export_spec::from(parse_attributes("type=registry,name=r.io/app"));
    spec.store = dir / "store";
    CHECK_THROWS_WITH(export_image(spec, sample(dir)), contains("no way to registries"));
    CHECK_FALSE(std::filesystem::exists(dir / "store"));
}

TEST_CASE("an image that nobody keeps leaves nothing behind", "[dispatch]") {
    temp_dir dir;
    auto spec = export_spec::from(parse_attributes("type=image,store=false,oci-mediatypes=true"));
    spec.store = dir / "store";
    auto const result = sample(dir);
    CHECK(export_image(spec, result).root.digest == fixed<gzip, oci_media_types, sha256>(result).root.digest);
    CHECK_FALSE(std::filesystem::exists(dir / "store"));
}

TEST_CASE("names that wait for the digest are known to the store", "[dispatch]") {
    temp_dir dir;
    auto spec = export_spec::from(
        parse_attributes("type=image,name=r.io/app:1,name-canonical=true,dangling-name-prefix=r.io/all"));
    spec.store = dir / "store";
    auto const image = export_image(spec, sample(dir));
    auto const at = "@" + image.root.digest.text();
    CHECK(image.names == std::vector<std::string>{"r.io/app:1", "r.io/all" + at});
    layout_store const store{dir / "store"};
    for (auto const& name : {std::string{"r.io/app:1"}, "r.io/app:1" + at, "r.io/all" + at}) {
        CAPTURE(name);
        CHECK(store.resolve(name).digest == image.root.digest);
    }
}

TEST_CASE("a digest in a name is that of the image", "[dispatch]") {
    temp_dir dir;
    auto const result = sample(dir);
    auto const into = [&](std::string const& name) {
        auto spec = export_spec::from(parse_attributes("type=image,name=" + name));
        spec.store = dir / "store";
        return export_image(spec, result);
    };
    CHECK_THROWS_WITH(into("r.io/app@sha256:" + std::string(64, '0')),
                      contains("not what the digest in its name says"));
    CHECK_FALSE(std::filesystem::exists(dir / "store"));
    auto const root = into("r.io/app:1").root.digest.text();
    CHECK(into("r.io/app@" + root).root.digest.text() == root);
}

TEST_CASE("a compression that changes nothing is told of", "[dispatch]") {
    temp_dir dir;
    auto const base = run("type=oci,tar=false,dest=" + (dir / "base"), sample(dir));
    layout_store const store{dir / "base"};
    build_result const again{.base = read_base(store, base.root)};
    auto above = sample(dir);
    above.base = again.base;
    above.platform.reset();
    auto const warnings = [&](std::string const& options, build_result const& result) {
        return run("type=oci,dest=" + (dir / "out.tar") + options, result).warnings;
    };
    CHECK(warnings(",compression=zstd", again) ==
          std::vector<std::string>{"compression=zstd has no effect on layers that are packed already; add "
                                   "force-compression=true"});
    CHECK(warnings(",compression=estargz", again).size() == 1);
    CHECK(warnings("", again).empty());
    CHECK(warnings(",compression=gzip", again).empty());
    CHECK(warnings(",compression=zstd,force-compression=true", again).empty());
    CHECK(warnings(",compression=zstd", above).empty());
    CHECK(warnings(",compression=zstd", {.platform = platform{.os = "linux", .architecture = "amd64"}})
              .empty());
}

TEST_CASE("a non-distributable layer is pushed only as a distributable one", "[dispatch]") {
    temp_dir dir;
    auto image = run("type=oci,tar=false,dest=" + (dir / "base"), sample(dir));
    layout_store const store{dir / "base"};
    auto facts = image.layers[0];
    facts.distributable = false;
    facts.urls = {"https://example.com/layer"};
    build_result const result{.layers = {blob_in_store(store, facts)}};
    bool const prefer = GENERATE(false, true), keep = GENERATE(false, true);
    far_away place;
    env_with_registries env{{}, {&place}};
    auto const spec = export_spec::from(
        parse_attributes("type=registry,name=r.io/a,store=" + std::string{keep ? "true" : "false"} +
                         ",prefer-nondist-layers=" + (prefer ? "true" : "false")));
    auto at = spec;
    at.store = dir / "store";
    auto const pushed = export_image(at, result, env);
    CHECK(place.there.store().contains(facts.blob.digest) == !prefer);
    CHECK(place.there.store().contains(pushed.root.digest));
    if (keep) CHECK(layout_store{dir / "store"}.contains(facts.blob.digest));
}
