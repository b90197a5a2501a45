#include <shiplap/codec/estargz.hpp>
#include <shiplap/codec/gzip.hpp>
#include <shiplap/codec/zstd.hpp>
#include <shiplap/layer/pack.hpp>
#include <shiplap/store/memory.hpp>
#include <shiplap/tar/writer.hpp>

#include "support/catch.hpp"

using namespace shiplap;

namespace {

struct test_env {
    thread_pool executor{2};
    no_progress progress;
    keep_timestamps timestamps;
};

// A layer of some files, written in pieces of a chosen size.
struct sample_layer {
    std::size_t piece = 1000;
    bool fails = false;

    void write_tar(byte_sink auto& out, layer_context const& context) const {
        tar_writer writer{out};
        for (int i = 0; i < 30; ++i) {
            std::string const payload(static_cast<std::size_t>(i) * 4321, static_cast<char>('a' + i % 26));
            tar_entry entry{.name = "f" + std::to_string(i), .mode = 0644, .size = payload.size()};
            entry.mtime = context.time({1'000 + i, 0});
            writer.entry(entry);
            for (std::size_t at = 0; at < payload.size(); at += piece)
                writer.write(as_bytes(std::string_view{payload}.substr(at, piece)));
            if (fails && i == 20) throw error{error_code::source_changed, "read", "f20", "changed"};
        }
        writer.finish();
    }
    [[nodiscard]] std::string description() const { return "sample"; }
};

// Counts how often it is read.
struct counted : sample_layer {
    int* reads;
    void write_tar(byte_sink auto& out, layer_context const& context) const {
        ++*reads;
        sample_layer::write_tar(out, context);
    }
};

static_assert(layer_source<sample_layer>);

template <codec C>
void check(C const& how) {
    memory_store store;
    test_env env;
    auto const packed = pack<sha256>(sample_layer{}, how, store, env);
    CAPTURE(std::string{C::name});
    CHECK(packed.encoding == C::encoding);
    CHECK(packed.created_by.empty()); // where the source lay on the disk is nobody's business
    CHECK(packed.created == timestamp{1029, 0});

    // Both digests are what the stored bytes have, packed and unpacked.
    auto const& blob = store.blobs().at(packed.blob.digest);
    CHECK(blob.size() == packed.blob.size);
    CHECK(digest::of<sha256>(as_bytes(blob)) == packed.blob.digest);
    decoded_source plain{C::decoder(), span_source{blob}};
    string_sink tar;
    transfer(plain, tar);
    CHECK(digest::of<sha256>(as_bytes(tar.text)) == packed.diff_id);
    CHECK(packed.annotations.contains(toc_digest_annotation) == annotating_encoder<encoder_of<C>>);

    // They do not depend on the size of writes or the number of threads.
    struct {
        inline_executor executor;
        no_progress progress;
        keep_timestamps timestamps;
    } alone;
    auto const again = pack<sha256>(sample_layer{.piece = 77'777}, how, store, alone);
    CHECK(again.blob.digest == packed.blob.digest);
    CHECK(again.diff_id == packed.diff_id);

    // A source that fails leaves nothing.
    memory_store untouched;
    CHECK_THROWS_AS(pack<sha256>(sample_layer{.fails = true}, how, untouched, env), error);
    CHECK(untouched.blobs().empty());
}

} // namespace

TEST_CASE("every codec packs to the digests of its bytes", "[pack]") {
    check(uncompressed{});
    check(gzip{});
    check(estargz{});
    check(zstd{});
}

TEST_CASE("the policy for timestamps reaches every entry, and marks the layer", "[pack]") {
    struct {
        inline_executor executor;
        no_progress progress;
        clamp_timestamps timestamps{{1010, 0}};
    } env;
    memory_store store;
    auto const packed = pack<sha256>(sample_layer{}, uncompressed{}, store, env);
    CHECK(packed.created == timestamp{1010, 0});
    CHECK(packed.annotations == annotation_map{{"buildkit/rewritten-timestamp", "1010"}});
}

TEST_CASE("an observer hears the start, the advance and the end", "[pack]") {
    struct {
        inline_executor executor;
        std::function<void(progress_event const&)> progress;
        keep_timestamps timestamps;
    } env;
    std::vector<progress_event::kind> heard;
    std::uint64_t done = 0;
    env.progress = [&](progress_event const& event) {
        heard.push_back(event.what);
        CHECK(event.subject == "sample");
        CHECK(event.done >= done);
        done = event.done;
    };
    memory_store store;
    auto const packed = pack<sha256>(sample_layer{}, uncompressed{}, store, env);
    REQUIRE(heard.size() >= 3);
    CHECK(heard.front() == progress_event::kind::started);
    CHECK(heard[1] == progress_event::kind::advanced);
    CHECK(heard.back() == progress_event::kind::finished);
    CHECK(done == packed.blob.size);
}

TEST_CASE("packed in several ways in one pass: each as if packed alone", "[pack]") {
    using ways = std::vector<std::variant<uncompressed, gzip, estargz, zstd>>;
    auto const which = GENERATE(values<ways>({{},
                                              {gzip{}},
                                              {uncompressed{}, gzip{.level = 1}, gzip{.level = 9}},
                                              {estargz{}, zstd{}, uncompressed{}, gzip{}},
                                              {estargz{.level = 1}, estargz{.level = 9}}}));
    int reads = 0;
    counted const source{{.piece = 5000}, &reads};
    clamp_timestamps const clamp{{1'010, 0}};
    struct {
        thread_pool executor{2};
        no_progress progress;
        timestamps_ref timestamps;
    } env;
    env.timestamps = timestamps_ref{clamp};
    memory_store together, alone;
    auto const made = pack_each<sha256>(source, which, together, env);
    CHECK(reads == 1);
    REQUIRE(made.size() == which.size());
    for (std::size_t i = 0; i < which.size(); ++i) {
        auto const expected =
            std::visit([&](auto const& how) { return pack<sha256>(source, how, alone, env); }, which[i]);
        CHECK(made[i].blob.digest == expected.blob.digest);
        CHECK(made[i].diff_id == expected.diff_id);
        CHECK(made[i].annotations == expected.annotations);
        CHECK(made[i].created == expected.created);
        CHECK(together.contains(made[i].blob.digest));
    }
    if (!which.empty())
        CHECK_THROWS_AS(pack_each<sha256>(sample_layer{.fails = true}, which, together, env), error);
}
