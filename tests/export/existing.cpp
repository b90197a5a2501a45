#include <shiplap/codec/gzip.hpp>
#include <shiplap/codec/zstd.hpp>
#include <shiplap/export/dispatch.hpp>
#include <shiplap/export/existing.hpp>
#include <shiplap/export/exporter.hpp>
#include <shiplap/sink/memory.hpp>

#include "support/catch.hpp"
#include "support/sample_image.hpp"
#include "support/temp.hpp"

using namespace shiplap;

namespace {

platform const amd64{.os = "linux", .architecture = "amd64"}, arm64{.os = "linux", .architecture = "arm64"};

/// An image with a history and spaces in its configuration, which no exporter writes.
sample_image make_existing(std::string_view late = "2020-01-03T00:00:00Z") {
    auto image = make_image(table_of<oci_media_types>, "gzip");
    auto const rootfs = image.config.substr(image.config.find("\"rootfs\""));
    image.config = R"({"os":"linux", "architecture":"arm64", "own":1.50,)"
                   R"("created":"2020-01-03T00:00:00Z","history":[)"
                   R"({"created":"2020-01-01T00:00:00Z","created_by":"ADD"},{"created":")" +
                   std::string{late} + R"(","created_by":"RUN"}],)" + rootfs;
    image.manifest.config = put_text(image.blobs, oci_media_types::config, image.config);
    image.manifest.annotations = {{"of", "the image"}, {"kept", "yes"}};
    image.manifest.layers[1].annotations = {{"of", "the layer"}};
    image.root = put_text(image.blobs, oci_media_types::manifest, to_text(image.manifest));
    return image;
}

descriptor put_index(memory_store& store, std::vector<descriptor> manifests,
                     annotation_map annotations = {}) {
    return put_text(store, oci_media_types::index,
                    to_text(image_index{.media_type = std::string{oci_media_types::index},
                                        .manifests = std::move(manifests),
                                        .annotations = std::move(annotations)}));
}

template <class Store>
image_index index_of(descriptor const& root, Store const& store) {
    return parse_index(read_blob(store, root), "i", root.media_type);
}

template <class Store>
image_manifest manifest_of(descriptor const& root, Store const& store) {
    return parse_manifest(read_blob(store, root), "m", root.media_type);
}

/// Two platforms with attestations and annotations on all that can have them.
struct sample_index {
    memory_store blobs;
    descriptor root;
};

sample_index make_index(attestation_form form = attestation_form::image) {
    auto const result = [](platform const& where, std::string const& content) {
        return build_result{.layers = {tar_layer{span_source{content}, content}}, .platform = where};
    };
    static auto const tars = std::pair{make_tar({tar_file("a", "1")}), make_tar({tar_file("b", "2")})};
    std::vector results{result(arm64, tars.first), result(amd64, tars.second)};
    results[1].attestations = {
        {.predicate_type = "urn:a", .predicate = R"({"v":1.50})"},
        {.predicate_type = "urn:b", .predicate = "{}", .subjects = {{"other", {{"sha1", "ab"}}}}}};
    exporter out{gzip{}, oci_media_types{}, sha256{}, memory_sink{}};
    auto const image = out(results, {.names = {"r.io/app:1"},
                                     .annotations = {{"m", "1"}},
                                     .descriptor_annotations = {{"d", "1"}},
                                     .for_platforms = {{amd64, {{"m", "2"}}, {{"d", "2"}}}},
                                     .index_annotations = {{"i", "1"}},
                                     .epoch = 60,
                                     .attestations_as = form});
    return {std::move(out.sink().store()), image.root};
}

} // namespace

TEST_CASE("an image that is exported again stays as it is", "[existing]") {
    auto const from = make_existing();
    auto const result = as_result(read_base(from.blobs, from.root));
    CHECK_FALSE(result.base);
    exporter out{gzip{}, oci_media_types{}, sha256{}, memory_sink{}};
    CHECK(out(result).root.digest == from.root.digest);
    CHECK(out(result, {.epoch = 2'000'000'000}).root.digest == from.root.digest);

    auto const said = out(result, {.annotations = {{"of", "the export"}}});
    CHECK(manifest_of(said.root, out.sink().store()).annotations ==
          annotation_map{{"of", "the export"}, {"kept", "yes"}});

    auto const packed = out(result, {.force_compression = true}); // already as they should be
    CHECK(packed.root.digest == from.root.digest);
    exporter with_zstd{zstd{}, oci_media_types{}, sha256{}, memory_sink{}};
    auto const other = with_zstd(result, {.force_compression = true});
    CHECK(other.config.digest == from.manifest.config.digest);
    CHECK(other.layers[1].annotations.empty()); // they were of other bytes
    CHECK(other.layers[1].created == result.layers[1].stored()->created);
}

TEST_CASE("an epoch goes for all of the history of an image that is exported again", "[existing]") {
    exporter out{gzip{}, oci_media_types{}, sha256{}, memory_sink{}};
    auto const history_at = [&](std::string_view late, std::int64_t epoch) {
        auto const from = make_existing(late);
        auto const image = out(as_result(read_base(from.blobs, from.root)), {.epoch = epoch});
        auto const text = read_blob(out.sink().store(), image.config);
        CHECK_THAT(text, contains(R"("own":1.50)"));
        return read_config(text, "c");
    };
    auto const day = 24 * 60 * 60, first = 18262 * day; // 2020-01-01
    auto const some = history_at("2020-01-03T00:00:00Z", first + day);
    CHECK(some.history[0].created == zoned_time{{first, 0}, 0});
    CHECK(some.history[1].created == zoned_time{{first + day, 0}, 0});
    CHECK(some.created == zoned_time{{first + day, 0}, 0});
    CHECK(some.history[1].created_by == "RUN");
    auto const only_history = history_at("2020-01-05T00:00:00Z", first + 2 * day);
    CHECK(only_history.history[1].created == zoned_time{{first + 2 * day, 0}, 0});
}

TEST_CASE("what else is said of an image goes with it", "[existing]") {
    auto const from = make_existing();
    build_result with{.names = {"app"}};
    with.changes.user = "me";
    with.attestations = {{.predicate_type = "urn:a"}};
    auto const result = as_result(read_base(from.blobs, from.root), with);
    CHECK(result.layers.size() == 2);
    CHECK(result.config == from.config);
    CHECK(result.names == with.names);
    CHECK(result.attestations.size() == 1);
    CHECK(result.changes == with.changes);
    with.config = "{}";
    CHECK(as_result(read_base(from.blobs, from.root), with).config == "{}");
}

TEST_CASE("wrong diff_ids of an image are found out where it is packed anew", "[existing]") {
    auto from = make_existing();
    auto const id = from.config.find("diff_ids");
    auto const digit = from.config.find("sha256:", id) + 7;
    from.config[digit] = from.config[digit] == 'a' ? 'b' : 'a';
    from.manifest.config = put_text(from.blobs, oci_media_types::config, from.config);
    from.root = put_text(from.blobs, oci_media_types::manifest, to_text(from.manifest));
    exporter out{zstd{}, oci_media_types{}, sha256{}, memory_sink{}};
    CHECK_THROWS_WITH(out(as_result(read_base(from.blobs, from.root)), {.force_compression = true}),
                      contains("the configuration of its image says"));
    CHECK(out.sink().images().empty());
}

TEST_CASE("a whole index exported again has the same digest", "[existing]") {
    auto const form = GENERATE(attestation_form::image, attestation_form::artifact);
    auto const from = make_index(form);
    auto const image = read_existing(from.blobs, from.root);
    CHECK(image.is_list);
    CHECK(image.warnings.empty());
    REQUIRE(image.results.size() == 2);
    CHECK(image.results[1].attestations.size() == 2);
    CHECK(image.results[1].attestations[0].subjects.empty());
    CHECK(image.results[1].attestations[1].subjects ==
          std::vector<attestation_subject>{{"other", {{"sha1", "ab"}}}});

    export_options options{.names = {"r.io/app:1"}, .epoch = 60, .attestations_as = form};
    keep_index_annotations(options, image);
    exporter out{gzip{}, oci_media_types{}, sha256{}, memory_sink{}};
    CHECK(out(image.input(), options).root.digest == from.root.digest);
}

TEST_CASE("all of an index is converted, and keeps what it says", "[existing]") {
    auto from = make_index();
    auto const blobs = std::make_shared<memory_store>(std::move(from.blobs));
    auto const image = read_existing(blobs, from.root);
    export_options options{.names = {"r.io/new:2"}, .force_compression = true};
    keep_index_annotations(options, image);
    exporter out{zstd{}, oci_media_types{}, sha256{}, memory_sink{}};
    auto const made = out(image.input(), options);
    auto const& store = out.sink().store();

    auto const before = index_of(from.root, *blobs), after = index_of(made.root, store);
    CHECK(after.annotations == before.annotations);
    REQUIRE(after.manifests.size() == 3);
    for (std::size_t i = 0; i < 2; ++i) {
        CHECK(after.manifests[i].platform == before.manifests[i].platform);
        CHECK(after.manifests[i].annotations == before.manifests[i].annotations);
        auto const old = manifest_of(before.manifests[i], *blobs),
                   now = manifest_of(after.manifests[i], store);
        CHECK(now.annotations == old.annotations);
        CHECK(now.config == old.config);
        CHECK(now.layers[0].media_type == oci_media_types::layer("zstd"));
    }
    auto const& about = after.manifests[2];
    CHECK(about.annotations.at(std::string{reference_digest_annotation}) == after.manifests[1].digest.text());
    auto const statements = manifest_of(about, store).layers;
    REQUIRE(statements.size() == 2);
    CHECK(read_blob(store, statements[0]) ==
          R"({"_type":"https://in-toto.io/Statement/v1","predicateType":"urn:a","subject":)"
          R"([{"name":"pkg:docker/r.io/new@2?platform=linux%2Famd64","digest":{"sha256":")" +
              std::string{after.manifests[1].digest.encoded()} + R"("}}],"predicate":{"v":1.50}})");
    CHECK_THAT(read_blob(store, statements[1]), contains(R"([{"name":"other","digest":{"sha1":"ab"}}])"));
}

TEST_CASE("a statement about the image and more keeps its names", "[existing]") {
    auto from = make_existing();
    auto const says =
        put_text(from.blobs, in_toto_media_type,
                 R"({"_type":"https://in-toto.io/Statement/v0.1","predicateType":"urn:a","subject":)"
                 R"([{"name":"x","digest":{"sha256":")" +
                     std::string{from.root.digest.encoded()} +
                     R"("}},{"name":"y","digest":{"sha1":"ab"}}],"predicate":{}})");
    std::vector<std::string> warnings;
    std::vector<attestation> found;
    auto strange = from.manifest.layers[0];
    detail::read_statements(from.blobs,
                            {.media_type = {}, .config = from.manifest.config, .layers = {says, strange}},
                            from.root.digest, found, warnings);
    REQUIRE(found.size() == 1);
    CHECK(found[0].subjects == std::vector<attestation_subject>{{"x", {}}, {"y", {{"sha1", "ab"}}}});
    REQUIRE(warnings.size() == 1);
    CHECK_THAT(warnings[0], contains(strange.digest.text()) && contains("no in-toto statement"));
}

TEST_CASE("what an index says of a platform stays, though the configuration says less", "[existing]") {
    auto from = make_existing();
    auto entry = from.root;
    entry.platform = platform{
        .os = "linux", .architecture = "arm64", .variant = "v8", .os_version = "1", .os_features = {"f"}};
    auto twin = entry;
    twin.platform->variant = "v9";
    auto const root = put_index(from.blobs, {entry, twin});
    auto const image = read_existing(from.blobs, root);
    REQUIRE(image.results.size() == 2);
    CHECK(image.results[0].layers[0].is_same_as(image.results[1].layers[0])); // packed once
    exporter out{gzip{}, oci_media_types{}, sha256{}, memory_sink{}};
    auto const made = out(image.input(), {.for_platforms = {{*twin.platform, {}, {{"d", "9"}}}}});
    auto const after = index_of(made.root, out.sink().store());
    CHECK(after.manifests[0].platform == entry.platform);
    CHECK(after.manifests[1].platform == twin.platform);
    CHECK(after.manifests[1].annotations == annotation_map{{"d", "9"}});
}

TEST_CASE("one image: a manifest, an index of it, and one with attestations", "[existing]") {
    auto from = make_existing();
    auto root = from.root;
    root.annotations = {{"of", "index.json"}, {"org.opencontainers.image.ref.name", "1"}};
    auto const alone = read_existing(from.blobs, root);
    CHECK_FALSE(alone.is_list);
    CHECK(alone.results.at(0).kept->descriptor_annotations == annotation_map{{"of", "index.json"}});
    CHECK(read_existing(from.blobs, put_index(from.blobs, {from.root})).is_list);

    exporter out{gzip{}, oci_media_types{}, sha256{}, memory_sink{}};
    auto attested = alone.results;
    attested[0].attestations = {{.predicate_type = "urn:a", .predicate = "{}"}};
    auto const made = out(export_input{attested, false});
    auto const again = read_existing(out.sink().store(), made.root);
    CHECK_FALSE(again.is_list); // so its files can be had, too
    CHECK(out(again.input()).root.digest == made.root.digest);
}

TEST_CASE("what is neither image nor attestation is left out with a warning", "[existing]") {
    auto from = make_existing();
    auto artifact = from.manifest;
    artifact.config.media_type = "application/vnd.oci.empty.v1+json";
    auto const signature = put_text(from.blobs, oci_media_types::manifest, to_text(artifact));
    auto const blob = put_text(from.blobs, "text/plain", "hello");
    auto stray = signature, other = from.root;
    stray.annotations = {{std::string{reference_type_annotation}, "attestation-manifest"},
                         {std::string{reference_digest_annotation}, blob.digest.text()}};
    auto const warning_of = [&](descriptor const& entry, std::string const& text) {
        auto const image = read_existing(from.blobs, put_index(from.blobs, {entry, from.root}));
        CHECK(image.results.size() == 1);
        REQUIRE(image.warnings.size() == 1);
        CHECK_THAT(image.warnings[0], contains(entry.digest.text()) && contains(text));
    };
    warning_of(signature, "no image that can be run");
    warning_of(blob, "of the media type text/plain");
    warning_of(stray, "an attestation of no image in it");

    CHECK_THROWS_WITH(read_existing(from.blobs, put_index(from.blobs, {blob})),
                      contains("holds no image that can be run"));
    CHECK_THROWS_WITH(read_existing(from.blobs, signature), contains("no image that can be run"));
}

TEST_CASE("indexes that cannot be converted", "[existing]") {
    auto from = make_existing();
    auto const inner = put_index(from.blobs, {from.root});
    CHECK_THROWS_WITH(read_existing(from.blobs, put_index(from.blobs, {inner})),
                      contains(inner.digest.text()) && contains("is an index inside the index"));
    auto deep = inner;
    for (unsigned i = 0; i <= max_index_depth; ++i) deep = put_index(from.blobs, {deep});
    CHECK_THROWS_WITH(read_existing(from.blobs, deep), contains("indexes inside each other"));

    auto missing = from.root;
    missing.digest = digest::of<sha256>(as_bytes("far away"));
    missing.platform = arm64;
    CHECK_THROWS_WITH(read_existing(from.blobs, put_index(from.blobs, {missing})),
                      contains("platform linux/arm64"));
    auto longer = from.root;
    longer.size += 1;
    CHECK_THROWS_AS(read_existing(from.blobs, put_index(from.blobs, {longer})), digest_mismatch);
}

TEST_CASE("annotations of an index in both families, by spec", "[existing]") {
    auto const from = make_index();
    auto image = read_existing(from.blobs, from.root);
    for (auto& result : image.results) result.attestations.clear();
    temp_dir dir;
    auto const made_by = [&](std::string const& options) {
        auto spec = export_spec::from(parse_attributes("type=image," + options));
        spec.store = dir / "store";
        keep_index_annotations(spec, image);
        auto made = export_image(spec, image.input());
        made.warnings.insert(made.warnings.end(), spec.warnings.begin(), spec.warnings.end());
        return std::pair{made, index_of(made.root, layout_store{dir / "store"})};
    };
    auto const [oci, oci_index] = made_by("annotation-index.j=2,annotation-index.i=3");
    CHECK(oci_index.annotations == annotation_map{{"i", "3"}, {"j", "2"}});
    CHECK(oci.warnings.empty());
    CHECK(made_by("compression=gzip").second.annotations == annotation_map{{"i", "1"}});

    auto files = export_spec::from(parse_attributes("type=tar,dest=" + (dir / "files.tar")));
    keep_index_annotations(files, image);
    CHECK(files.index_annotations.empty());

    auto const [docker, docker_index] = made_by("oci-mediatypes=false");
    CHECK(docker_index.media_type == docker_media_types::index);
    CHECK(docker_index.annotations.empty());
    CHECK(docker_index.manifests[0].annotations.empty());
    CHECK(docker.warnings.size() == 3); // the index, and the descriptor of each platform
}
