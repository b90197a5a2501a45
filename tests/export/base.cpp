#include <shiplap/codec/estargz.hpp>
#include <shiplap/codec/gzip.hpp>
#include <shiplap/codec/zstd.hpp>
#include <shiplap/export/base.hpp>
#include <shiplap/export/dispatch.hpp>
#include <shiplap/export/exporter.hpp>
#include <shiplap/layer/directory.hpp>
#include <shiplap/sink/layout.hpp>
#include <shiplap/sink/memory.hpp>
#include <shiplap/sink/oci_archive.hpp>
#include <shiplap/store/oci_archive.hpp>

#include "support/catch.hpp"
#include "support/sample_image.hpp"
#include "support/temp.hpp"
#include "support/trees.hpp"

#include <map>

using namespace shiplap;

namespace {

/// Counts what is read of the store below it.
struct watched_store {
    memory_store const& from;
    std::map<digest, int>& reads;
    [[nodiscard]] bool contains(digest const& which) const { return from.contains(which); }
    [[nodiscard]] span_source reader(digest const& which) const {
        ++reads[which];
        return from.reader(which);
    }
};

platform const arm64{.os = "linux", .architecture = "arm64"};

/// An image as people have them: a history, a time, settings, and members of its builder's own.
sample_image make_base(media_type_table const& types = table_of<oci_media_types>,
                       std::string_view encoding = "gzip") {
    auto image = make_image(types, encoding);
    auto const rootfs = image.config.substr(image.config.find("\"rootfs\""));
    image.config = R"({"architecture":"arm64","config":{"Env":["A=1"],"Cmd":["sh"]},)"
                   R"("container_config":{},"created":"2020-01-03T00:00:00Z",)"
                   R"("history":[{"created":"2020-01-01T00:00:00Z","created_by":"ADD"},)"
                   R"({"created":"2020-01-02T00:00:00Z","created_by":"ENV A=1","empty_layer":true},)"
                   R"({"created":"2020-01-03T00:00:00Z","created_by":"RUN"}],"os":"linux",)" +
                   rootfs;
    image.manifest.config = put_text(image.blobs, types.config, image.config);
    image.manifest.annotations = {{"of", "the base"}};
    image.root = put_text(image.blobs, types.manifest, to_text(image.manifest));
    return image;
}

any_layer_source tree(temp_dir const& dir) {
    trees::write(dir / "tree/new", "new file");
    return directory_layer{.path = dir / "tree", .owners = root_owned};
}

image_manifest manifest_of(exported_image const& image, blob_reader_source auto const& store) {
    return parse_manifest(read_blob(store, image.root), "m", image.root.media_type);
}

template <class Action>
void check_error(Action action, error_code code, std::string const& text) {
    try {
        action();
        FAIL("no error");
    } catch (error const& failure) {
        CHECK(failure.code() == code);
        CHECK_THAT(std::string{failure.what()}, contains(text));
    }
}

} // namespace

TEST_CASE("a base without anything new is that image again", "[base]") {
    auto const from = make_base();
    exporter out{gzip{}, oci_media_types{}, sha256{}, memory_sink{}};
    auto const image = out({.base = read_base(from.blobs, from.root)}, {.epoch = 2'000'000'000});
    CHECK(image.config.digest == from.manifest.config.digest); // to the byte
    auto const manifest = manifest_of(image, out.sink().store());
    CHECK(manifest.layers == from.manifest.layers);
    CHECK(manifest.annotations.empty());
    CHECK(image.root.annotations.at("org.opencontainers.image.created") == "2033-05-18T03:33:20Z");
    CHECK_NOTHROW(read_graph(image.root, out.sink().store()));
    CHECK(image.warnings.empty());
}

TEST_CASE("new layers and changes go on top of a base", "[base]") {
    temp_dir dir;
    auto const from = make_base();
    build_result result{.layers = {tree(dir)}, .base = read_base(from.blobs, from.root)};
    result.changes.env = {"B=2"};
    exporter out{zstd{}, docker_media_types{}, sha256{}, memory_sink{}};
    auto const image = out(result, {.epoch = 60});
    auto const& store = out.sink().store();

    auto const manifest = manifest_of(image, store);
    REQUIRE(manifest.layers.size() == 3);
    for (std::size_t i = 0; i < 2; ++i) {
        CHECK(manifest.layers[i].digest == from.manifest.layers[i].digest);
        CHECK(manifest.layers[i].size == from.manifest.layers[i].size);
        CHECK(manifest.layers[i].media_type == docker_media_types::layer("gzip")); // as it is packed
    }
    CHECK(manifest.layers[2].media_type == docker_media_types::layer("zstd"));

    auto const text = read_blob(store, image.config);
    CHECK_THAT(text, contains(R"("Env":["A=1","B=2"],"Cmd":["sh"])") && !contains("container_config"));
    auto const config = read_config(text, "c");
    auto const base = read_config(from.config, "c");
    CHECK(config.platform == base.platform);
    REQUIRE(config.diff_ids.size() == 3);
    CHECK(std::equal(base.diff_ids.begin(), base.diff_ids.end(), config.diff_ids.begin()));
    REQUIRE(config.history.size() == 4);
    CHECK(std::equal(base.history.begin(), base.history.end(), config.history.begin())); // whatever the epoch
    CHECK(config.history[3].created == zoned_time{{60, 0}, 0});
    CHECK(config.created == zoned_time{{60, 0}, 0});
}

TEST_CASE("layers of a base are read when somebody needs them, each once", "[base]") {
    temp_dir dir;
    auto const from = make_base();
    std::map<digest, int> reads;
    watched_store const watched{from.blobs, reads};
    auto const& layers = from.manifest.layers;
    build_result const result{.layers = {tree(dir)}, .base = read_base(watched, from.root)};
    CHECK(reads == std::map<digest, int>{{from.root.digest, 1}, {from.manifest.config.digest, 1}});
    reads.clear();

    SECTION("into an archive they go straight") {
        exporter out{gzip{}, oci_media_types{}, sha256{}, oci_archive_sink{dir / "out.tar"}};
        auto const image = out(result);
        CHECK(reads == std::map<digest, int>{{layers[0].digest, 1}, {layers[1].digest, 1}});
        oci_archive_store const archive{dir / "out.tar"};
        CHECK(manifest_of(image, archive).layers.size() == 3);
        CHECK_NOTHROW(read_graph(image.root, archive));
    }
    SECTION("a layout takes them over, and what it has is not read again") {
        exporter out{gzip{}, oci_media_types{}, sha256{}, layout_sink{dir / "out"}};
        auto const image = out(result);
        CHECK(reads == std::map<digest, int>{{layers[0].digest, 1}, {layers[1].digest, 1}});
        reads.clear();
        exporter again{gzip{}, oci_media_types{}, sha256{}, layout_sink{dir / "out"}};
        CHECK(again(result).root == image.root);
        CHECK(reads.empty());
        CHECK_NOTHROW(read_graph(image.root, layout_store{dir / "out"}));
    }
    SECTION("packed as they should be, they are not read even if that is forced") {
        exporter out{gzip{.level = 1}, oci_media_types{}, sha256{}, memory_sink{}};
        auto const image = out(result, {.force_compression = true});
        CHECK(image.layers[1].blob.digest == layers[1].digest);
    }
}

TEST_CASE("the layers of a base are packed anew only if that is forced, with the times they have", "[base]") {
    struct late_env : default_env {
        clamp_timestamps timestamps{{.seconds = -60}}; // the entries are of 1970
    };
    auto const from = make_base();
    exporter out{zstd{}, oci_media_types{}, sha256{}, memory_sink{}, late_env{}};
    auto const image = out({.base = read_base(from.blobs, from.root)}, {.force_compression = true});
    auto const manifest = manifest_of(image, out.sink().store());
    CHECK(manifest.layers[0].media_type == oci_media_types::layer("zstd"));
    CHECK(manifest.layers[0].annotations.empty());
    CHECK(image.config.digest == from.manifest.config.digest); // the diff_ids are the same

    exporter lazy{estargz{}, oci_media_types{}, sha256{}, memory_sink{}};
    auto const indexed = lazy({.base = read_base(from.blobs, from.root)}, {.force_compression = true});
    CHECK(indexed.config.digest != from.manifest.config.digest); // these have other ones
    auto const config = read_config(read_blob(lazy.sink().store(), indexed.config), "c");
    CHECK(config.history == read_config(from.config, "c").history);

    auto again = read_base(lazy.sink().store(), indexed.root); // what estargz says of a layer stays true
    CHECK(again.layers[0].stored()->annotations.contains(toc_digest_annotation));
}

TEST_CASE("both faces put the same on top of a base", "[base]") {
    temp_dir dir;
    auto const from = make_base(table_of<docker_media_types>);
    build_result const result{.layers = {tree(dir)}, .base = read_base(from.blobs, from.root)};
    exporter out{gzip{}, oci_media_types{}, sha256{}, memory_sink{}};
    auto const spec = export_spec::from(parse_attributes("type=oci,dest=" + (dir / "out.tar")));
    CHECK(export_image(spec, result).root == out(result).root);
}

TEST_CASE("a non-distributable layer of a base, at hand or not, asked to stay so or not", "[base]") {
    static constexpr std::string_view foreign_docker = "application/vnd.docker.image.rootfs.foreign.diff.tar",
                                      foreign_oci = "application/vnd.oci.image.layer.nondistributable.v1.tar";
    using oci = oci_media_types;
    using docker = docker_media_types;
    struct row {
        std::string_view encoding;
        bool is_there, has_urls, prefer, force;
        std::string as_oci, as_docker; // media types
        bool stays_same = true;
        std::string warning{}, docker_warning{};
    };
    auto const foreign_gzip = std::string{foreign_oci} + "+gzip",
               foreign_gzip_docker = std::string{foreign_docker} + ".gzip";
    std::string const only_named = "is only named by URLs", docker_zstd = "Docker has no media type";
    auto const text = [](std::string_view type) { return std::string{type}; };
    auto const c = GENERATE_COPY(values<row>({
        {"gzip", true, true, false, false, text(oci::layer("gzip")), text(docker::layer("gzip"))},
        {"gzip", true, false, false, false, text(oci::layer("gzip")), text(docker::layer("gzip"))},
        {"gzip", true, true, true, false, foreign_gzip, foreign_gzip_docker},
        {"gzip", true, false, true, false, text(oci::layer("gzip")), text(docker::layer("gzip"))},
        {"gzip", true, true, false, true, text(oci::layer("zstd")), text(docker::layer("zstd")), false},
        {"gzip", true, true, true, true, text(oci::layer("zstd")), text(docker::layer("zstd")), false},
        {"gzip", false, true, false, false, foreign_gzip, foreign_gzip_docker, true, only_named, only_named},
        {"gzip", false, true, true, true, foreign_gzip, foreign_gzip_docker, true, only_named, only_named},
        {"zstd", true, true, true, true, text(foreign_oci) + "+zstd", text(docker::layer("zstd")), true, "",
         docker_zstd},
        {"", true, true, true, false, text(foreign_oci), text(foreign_docker)},
    }));
    CAPTURE(c.encoding, c.is_there, c.has_urls, c.prefer, c.force);
    temp_dir dir;
    auto from = make_base(table_of<docker_media_types>, c.encoding);
    auto& foreign = from.manifest.layers[0];
    foreign.media_type = foreign_layer_type(docker::manifest, c.encoding);
    if (c.has_urls) foreign.urls = {"https://example.com/layer"};
    if (!c.is_there) foreign.digest = digest::of<sha256>(as_bytes("far away"));
    from.root = put_text(from.blobs, docker::manifest, to_text(from.manifest));
    build_result const result{.base = read_base(from.blobs, from.root)};
    export_options const options{.force_compression = c.force, .prefer_nondistributable = c.prefer};

    auto const check = [&](auto types, std::string const& media_type, std::string const& warning) {
        exporter into_store{zstd{}, types, sha256{}, memory_sink{}};
        exporter into_file{zstd{}, types, sha256{}, oci_archive_sink{dir / "out.tar"}};
        auto const image = into_store(result, options);
        CHECK(into_file(result, options).root == image.root);
        auto const layer = manifest_of(image, into_store.sink().store()).layers[0];
        CHECK(layer.media_type == media_type);
        CHECK((layer.digest == foreign.digest) == c.stays_same);
        CHECK(layer.urls ==
              (detail::is_foreign_layer(media_type) ? foreign.urls : std::vector<std::string>{}));
        CHECK(into_store.sink().store().contains(layer.digest) == c.is_there);
        CHECK(oci_archive_store{dir / "out.tar"}.contains(layer.digest) == c.is_there);
        REQUIRE(image.warnings.size() == (warning.empty() ? 0u : 1u));
        if (!warning.empty())
            CHECK_THAT(image.warnings[0], contains(warning) && contains(foreign.digest.text()));
    };
    check(oci{}, c.as_oci, c.warning);
    check(docker{}, c.as_docker, c.docker_warning);
}

TEST_CASE("a layer that is missing must be one that may be missing", "[base]") {
    auto from = make_base();
    from.manifest.layers[0].urls = {"https://example.com/layer"};
    from.manifest.layers[0].digest = digest::of<sha256>(as_bytes("far away"));
    from.root = put_text(from.blobs, oci_media_types::manifest, to_text(from.manifest));
    check_error([&] { read_base(from.blobs, from.root); }, error_code::not_found, "layer 1");
}

TEST_CASE("from one codec to another and back: the base again", "[base]") {
    auto const from = make_base();
    auto const convert = [](build_result const& result, auto codec) {
        exporter out{codec, oci_media_types{}, sha256{}, memory_sink{}};
        auto const image = out(result, {.force_compression = true});
        return std::pair{image, std::move(out.sink().store())};
    };
    auto const there_and_back = [&](auto codec) {
        INFO(codec.name);
        auto const [there, store] = convert({.base = read_base(from.blobs, from.root)}, codec);
        auto const [back, again] = convert({.base = read_base(store, there.root)}, gzip{});
        CHECK(back.config.digest == from.manifest.config.digest); // to the byte
        CHECK(back.root.digest ==
              convert({.base = read_base(from.blobs, from.root)}, gzip{}).first.root.digest);
    };
    there_and_back(uncompressed{});
    there_and_back(estargz{});
    there_and_back(zstd{});
}

TEST_CASE("a base is found by its platform", "[base]") {
    auto from = make_base();
    from.root.platform = arm64;
    auto other = from.root;
    other.platform = platform{.os = "plan9", .architecture = "mips"};
    auto const root = put_text(from.blobs, oci_media_types::index,
                               to_text(image_index{.media_type = std::string{oci_media_types::index},
                                                   .manifests = {from.root, other}}));
    CHECK(read_base(from.blobs, root, arm64).root == from.root);
    auto const missing = platform{.os = "linux", .architecture = "s390x"};
    check_error([&] { read_base(from.blobs, root, missing); }, error_code::not_found,
                "choose one of these: linux/arm64, plan9/mips");
    check_error([&] { read_base(from.blobs, from.root, missing); }, error_code::not_found,
                "is for linux/arm64"); // a manifest of another platform
    check_error([&] { read_base(from.blobs, root, other.platform); }, error_code::not_found,
                "is for linux/arm64");               // an index that lies
    CHECK_NOTHROW(read_base(from.blobs, from.root)); // who does not ask takes what there is

    // Old images for arm do not say which one.
    CHECK_NOTHROW(detail::check_base_platform({.os = "linux", .architecture = "arm"},
                                              {.os = "linux", .architecture = "arm", .variant = "v6"}, "c"));
}

TEST_CASE("a base whose configuration does not fit its layers is refused by name", "[base]") {
    auto from = make_base();
    auto const read_with = [&](std::string const& config) {
        from.manifest.config = put_text(from.blobs, oci_media_types::config, config);
        from.root = put_text(from.blobs, oci_media_types::manifest, to_text(from.manifest));
        read_base(from.blobs, from.root);
    };
    auto const id = digest::of<sha256>(as_bytes("x")).text();
    auto const start = std::string{R"({"architecture":"arm64","os":"linux")"};
    auto const with_ids = [&](std::string const& ids) {
        return start + R"(,"rootfs":{"type":"layers","diff_ids":[)" + ids + "]}}";
    };
    auto const one = "\"" + id + "\"";
    check_error([&] { read_with(start + "}"); }, error_code::format, "of the base image");
    check_error([&] { read_with(with_ids("")); }, error_code::format, "has 0 diff_ids");
    check_error([&] { read_with(with_ids(one)); }, error_code::format,
                "has 2 layers, but the configuration sha256:");
    check_error([&] { read_with(with_ids(one + "," + one + "," + one)); }, error_code::format,
                "has 3 diff_ids");
    CHECK_NOTHROW(read_with(with_ids(one + "," + one)));

    // Wrong diff_ids are found out where the layers are unpacked.
    exporter out{zstd{}, oci_media_types{}, sha256{}, memory_sink{}};
    check_error([&] { out({.base = read_base(from.blobs, from.root)}, {.force_compression = true}); },
                error_code::digest_mismatch, "the configuration of its image says");
    CHECK(out.sink().images().empty());
}

TEST_CASE("a base without a history gets one", "[base]") {
    temp_dir dir;
    auto const from = make_image();
    exporter out{gzip{}, oci_media_types{}, sha256{}, memory_sink{}};
    auto const image = out({.layers = {tree(dir)}, .base = read_base(from.blobs, from.root)}, {.epoch = 60});
    auto const history = read_config(read_blob(out.sink().store(), image.config), "c").history;
    REQUIRE(history.size() == 3);
    CHECK(history[0].created_by == "layer of the base image");
    CHECK(history[2].created_by == "created by shiplap");
}

TEST_CASE("what is wrong with a base's layer is found when it is read", "[base]") {
    temp_dir dir;
    auto from = make_base();
    exporter out{gzip{}, oci_media_types{}, sha256{}, oci_archive_sink{dir / "out.tar"}};
    SECTION("a media type that lies") {
        from.manifest.layers[1].media_type = oci_media_types::layer("zstd");
        from.root = put_text(from.blobs, oci_media_types::manifest, to_text(from.manifest));
        auto const base = read_base(from.blobs, from.root);
        check_error([&] { out({.base = base}); }, error_code::format,
                    "should be packed with zstd by its media type, is packed with gzip");
    }
    SECTION("other bytes, wherever they would go") {
        auto damaged = blob_in_store(from.blobs, *read_base(from.blobs, from.root).layers[1].stored());
        auto base = read_base(from.blobs, from.root);
        base.layers[1] = existing_blob{damaged.facts, [bytes = from.manifest.layers[0].digest, &from] {
                                           return from.blobs.reader(bytes);
                                       }};
        check_error([&] { out({.base = base}); }, error_code::digest_mismatch,
                    damaged.facts.blob.digest.text());
        exporter into_store{gzip{}, oci_media_types{}, sha256{}, memory_sink{}};
        check_error([&] { into_store({.base = base}); }, error_code::digest_mismatch, "");
        CHECK_FALSE(into_store.sink().store().contains(damaged.facts.blob.digest));
        check_error([&] { into_store({.base = base}, {.epoch = 0, .force_compression = true}); },
                    error_code::digest_mismatch, "");
    }
    SECTION("one that is no layer's") {
        from.manifest.layers[1].media_type = "application/vnd.in-toto+json";
        from.root = put_text(from.blobs, oci_media_types::manifest, to_text(from.manifest));
        check_error([&] { read_base(from.blobs, from.root); }, error_code::unsupported, "in-toto");
    }
    SECTION("a layer that is missing is known before that") {
        from.manifest.layers[1].digest = digest::of<sha256>(as_bytes("missing"));
        from.root = put_text(from.blobs, oci_media_types::manifest, to_text(from.manifest));
        check_error([&] { read_base(from.blobs, from.root); }, error_code::not_found, "layer 2");
    }
    CHECK_FALSE(std::filesystem::exists(dir / "out.tar"));
}

TEST_CASE("a base may share its store", "[base]") {
    auto from = std::make_shared<sample_image>(make_base());
    std::shared_ptr<memory_store> store{from, &from->blobs};
    auto const root = from->root;
    std::weak_ptr<sample_image> const watched = from;
    build_result result{.base = read_base(store, root)};
    from.reset();
    store.reset();
    CHECK_FALSE(watched.expired());
    exporter out{gzip{}, oci_media_types{}, sha256{}, memory_sink{}};
    CHECK_NOTHROW(out(result));
    result.base.reset();
    CHECK(watched.expired());
}

TEST_CASE("a configuration that is given takes the place of the base's, whose history is still its own",
          "[base]") {
    temp_dir dir;
    auto const from = make_base();
    build_result result{.layers = {tree(dir)},
                        .config =
                            R"({"architecture":"arm64","os":"linux","config":{"User":"1"},"history":[)"
                            R"({"created":"2020-01-01T00:00:00Z","created_by":"ADD"},)"
                            R"({"created":"2020-01-02T00:00:00Z","created_by":"ENV A=1","empty_layer":true},)"
                            R"({"created":"2020-01-03T00:00:00Z","created_by":"another RUN"}]})",
                        .base = read_base(from.blobs, from.root)};
    exporter out{gzip{}, oci_media_types{}, sha256{}, memory_sink{}};
    auto const text = read_blob(out.sink().store(), out(result, {.epoch = 60}).config);
    CHECK_THAT(text, contains(R"("config":{"User":"1"})"));
    auto const config = read_config(text, "c");
    CHECK(config.diff_ids.size() == 3);
    REQUIRE(config.history.size() == 4);
    CHECK(config.history[1] == read_config(from.config, "c").history[1]);
    CHECK(config.history[2].created == zoned_time{{60, 0}, 0}); // not the base's any more
}
