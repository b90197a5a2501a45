#include <shiplap/codec/estargz.hpp>
#include <shiplap/codec/gzip.hpp>
#include <shiplap/codec/zstd.hpp>
#include <shiplap/export/exporter.hpp>
#include <shiplap/export/ready_layer.hpp>
#include <shiplap/layer/existing.hpp>
#include <shiplap/sink/memory.hpp>
#include <shiplap/store/memory.hpp>
#include <shiplap/tar/writer.hpp>

#include "support/catch.hpp"

using namespace shiplap;

namespace {

struct dated_env : default_env {
    clamp_timestamps timestamps{{.seconds = 60}};
};

struct one_file {
    std::int64_t seconds;
    void write_tar(byte_sink auto& out, layer_context const&) const {
        tar_writer tar{out};
        tar_entry entry;
        entry.name = "f";
        entry.user_name = "somebody";
        entry.mtime.seconds = seconds;
        tar.entry(entry);
        tar.finish();
    }
    static std::string description() { return "one file"; }
};

/// A layer with one file of that time, which lies in the store.
template <codec C>
layer_blob stored_layer_of(memory_store& store, C const& how, std::int64_t seconds) {
    default_env env;
    auto facts = pack<sha256>(one_file{seconds}, how, store, env);
    facts.created_by = "another tool";
    facts.created = timestamp{5, 0};
    return facts;
}

struct noisy_file {
    int number;
    void write_tar(byte_sink auto& out, layer_context const&) const {
        tar_writer tar{out};
        tar_entry entry;
        entry.name = std::to_string(number);
        entry.size = number % 2 == 0 ? 3'000'000 : 10;
        std::string content(entry.size, '\0');
        auto state = static_cast<std::uint32_t>(number);
        for (auto& c : content) c = static_cast<char>((state = state * 1'664'525 + 1'013'904'223) >> 28);
        tar.entry(entry);
        tar.write(as_bytes(content));
        tar.finish();
    }
    [[nodiscard]] std::string description() const { return "file " + std::to_string(number); }
};

struct failing {
    int number;
    void write_tar(byte_sink auto& out, layer_context const&) const {
        out.write(as_bytes("half"));
        throw error{error_code::source_changed, "read", std::to_string(number), "changed"};
    }
    [[nodiscard]] std::string description() const { return "failing " + std::to_string(number); }
};

} // namespace

TEST_CASE("where times are limited, stored layers are written anew with the exporter's codec",
          "[ready_layer]") {
    memory_store store;
    auto const late = stored_layer_of(store, gzip{}, 61), early = stored_layer_of(store, gzip{}, 60);
    exporter out{zstd{}, oci_media_types{}, sha256{}, memory_sink{}, dated_env{}};
    auto const image = out({.layers = {blob_in_store(store, late)}});
    auto const& layer = image.layers[0];
    CHECK(layer.encoding == "zstd");
    CHECK(layer.diff_id == early.diff_id); // the time alone differs
    CHECK(layer.annotations == annotation_map{{"buildkit/rewritten-timestamp", "60"}});
    CHECK(layer.created_by == "another tool");
    CHECK(layer.created == timestamp{5, 0});

    // Who limits once more to the same time has nothing to do, to another one has.
    exporter again{zstd{}, oci_media_types{}, sha256{}, memory_sink{}, dated_env{}};
    CHECK(again({.layers = {blob_in_store(out.sink().store(), layer)}}).root == image.root);
    exporter as_gzip{gzip{}, oci_media_types{}, sha256{}, memory_sink{}, dated_env{}};
    CHECK(as_gzip({.layers = {blob_in_store(out.sink().store(), layer)}}).root == image.root);
    exporter earlier{gzip{}, oci_media_types{}, sha256{}, memory_sink{}, dated_env{{}, {{.seconds = 59}}}};
    CHECK(earlier({.layers = {blob_in_store(out.sink().store(), layer)}}).layers[0].diff_id ==
          stored_layer_of(store, gzip{}, 59).diff_id);

    // An index is made anew.
    exporter lazy{estargz{}, oci_media_types{}, sha256{}, memory_sink{}, dated_env{}};
    auto const indexed = stored_layer_of(store, estargz{}, 61);
    CHECK(lazy({.layers = {blob_in_store(store, indexed)}}).layers[0].blob.digest ==
          stored_layer_of(store, estargz{}, 60).blob.digest);
}

TEST_CASE("a stored layer whose times cannot be limited is an error that says why", "[ready_layer]") {
    memory_store store;
    auto facts = stored_layer_of(store, gzip{}, 61);
    std::string reason;
    SECTION("it is not here") {
        facts.only_named = true;
        facts.urls = {"https://example.com/layer"};
        reason = "from which nothing is fetched";
    }
    SECTION("nobody knows how it is packed") {
        facts.encoding = "xz";
        reason = "no such encoding";
    }
    SECTION("it is no tar") {
        auto const text = std::string(600, 'x');
        facts.blob = {digest::of<sha256>(as_bytes(text)), text.size()};
        facts.encoding = "";
        auto writer = store.open();
        writer.write(as_bytes(text));
        writer.commit(facts.blob);
        reason = "checksum";
    }
    exporter out{gzip{}, oci_media_types{}, sha256{}, memory_sink{}, dated_env{}};
    CHECK_THROWS_WITH(out({.layers = {blob_in_store(store, facts)}}),
                      contains("layer 1 (blob:" + facts.blob.digest.text()) && contains(reason));
    CHECK(out.sink().images().empty());
}

TEST_CASE("the same packed bytes from two sources are packed anew once", "[ready_layer]") {
    memory_store store;
    auto const facts = stored_layer_of(store, gzip{}, 61);
    auto second = facts;
    second.created_by = "a third tool";
    int opened = 0;
    auto const counted = [&](layer_blob of) {
        return existing_blob{of, [&opened, &store, which = of.blob.digest] {
                                 ++opened;
                                 return store.reader(which);
                             }};
    };
    exporter out{zstd{}, oci_media_types{}, sha256{}, memory_sink{}};
    export_options const options{.force_compression = true};
    auto const image = out({.layers = {counted(facts), counted(second)}}, options);
    CHECK(opened == 1);
    CHECK(image.layers[0].blob.digest == image.layers[1].blob.digest);
    CHECK(image.layers[0].created_by == "another tool");
    CHECK(image.layers[1].created_by == "a third tool");

    second.diff_id = digest::of<sha256>({}); // a promise of its own, which does not hold
    CHECK_THROWS_AS(out({.layers = {counted(facts), counted(second)}}, options), digest_mismatch);
}

TEST_CASE("which packed layers a codec would make alike", "[ready_layer]") {
    auto const with = [](std::string encoding, bool indexed) {
        layer_blob facts{.blob = {digest::of<sha256>({}), 0},
                         .diff_id = digest::of<sha256>({}),
                         .encoding = std::move(encoding)};
        if (indexed) facts.annotations[toc_digest_annotation] = "sha256:";
        return facts;
    };
    CHECK(detail::is_packed_as<gzip>(with("gzip", false)));
    CHECK_FALSE(detail::is_packed_as<gzip>(with("gzip", true)));
    CHECK_FALSE(detail::is_packed_as<estargz>(with("gzip", false)));
    CHECK(detail::is_packed_as<estargz>(with("gzip", true)));
    CHECK(detail::is_packed_as<zstd>(with("zstd", false)));
    CHECK(detail::is_packed_as<zstd>(with("zstd", true))); // zstd:chunked
    CHECK_FALSE(detail::is_packed_as<zstd>(with("", false)));
}

TEST_CASE("layers are packed side by side, with the bytes and the order of one after the other",
          "[ready_layer]") {
    // Long and short ones in turn, some twice: an executor with threads finishes them in another order.
    auto const image_of = [](unsigned workers, auto const& codec) {
        build_result result;
        for (int const number : {0, 1, 2, 3, 4, 5, 6, 7, 8, 9})
            result.layers.emplace_back(noisy_file{number});
        result.layers.push_back(result.layers[2]);
        result.layers.push_back(result.layers[9]);
        default_env env;
        env.executor = shared_pool{workers};
        exporter out{codec, oci_media_types{}, sha256{}, memory_sink{}, env};
        return out(result);
    };
    auto const check = [&](auto const& codec) {
        auto const expected = image_of(0, codec);
        REQUIRE(expected.layers.size() == 12);
        CHECK(expected.layers[10].diff_id == expected.layers[2].diff_id);
        CHECK(expected.layers[11].diff_id == expected.layers[9].diff_id);
        for (unsigned const workers : {1U, 2U, 3U, 8U, 64U})
            CHECK(image_of(workers, codec).root == expected.root);
    };
    check(gzip{.level = 1});
    check(zstd{.level = 1});
    check(uncompressed{});
}

TEST_CASE("the lowest layer that cannot be packed is the one that is told of", "[ready_layer]") {
    for (int round = 0; round < 20; ++round) {
        build_result result{.layers = {one_file{1}, failing{2}, failing{3}, one_file{4}, one_file{5}}};
        default_env env;
        env.executor = shared_pool{4};
        exporter out{gzip{}, oci_media_types{}, sha256{}, memory_sink{}, env};
        CHECK_THROWS_WITH(out(result), Catch::Matchers::Contains("layer 2 (failing 2)"));
    }
}
