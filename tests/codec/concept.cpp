#include <shiplap/codec/concept.hpp>

#include "codec/support.hpp"

using namespace codec_tests;

namespace {

// The exemplar of codec/concept.hpp.
struct store_codec {
    static constexpr std::string_view name = "store", encoding = "";
    struct stage {
        void write(bytes_view in, byte_sink auto& out) { out.write(in); }
        void finish(byte_sink auto&) {}
    };
    struct reader {
        std::size_t read(byte_source auto& in, bytes_span into) { return in.read(into); }
    };
    stage encoder(executor_ref) const { return {}; }
    static reader decoder() { return {}; }
};

struct nameless : store_codec {
  private:
    using store_codec::name;
};

struct encoder_that_never_finishes : store_codec {
    struct stage {
        void write(bytes_view in, byte_sink auto& out) { out.write(in); }
    };
    stage encoder(executor_ref) const { return {}; }
};

struct decoder_that_returns_nothing : store_codec {
    struct reader {
        void read(byte_source auto&, bytes_span) {}
    };
    static reader decoder() { return {}; }
};

struct leveled : store_codec {
    [[nodiscard]] static constexpr level_range levels() { return {1, 3}; }
    int level = 2;
};

struct annotating_stage : store_codec::stage {
    [[nodiscard]] annotation_map annotations() const { return {}; }
};

struct extending_stage : store_codec::stage {
    void write_extension(byte_sink auto&) const {}
};

static_assert(codec<store_codec>);
static_assert(!codec<nameless>);
static_assert(!codec<encoder_that_never_finishes>);
static_assert(!codec<decoder_that_returns_nothing>);
static_assert(leveled_codec<leveled> && !leveled_codec<store_codec>);
static_assert(annotating_encoder<annotating_stage> && !annotating_encoder<store_codec::stage>);
static_assert(extending_encoder<extending_stage> && !extending_encoder<store_codec::stage>);

} // namespace

TEST_CASE("the exemplar of a codec packs and unpacks") {
    CHECK(pack(store_codec{}, "content") == "content");
    CHECK(unpack(store_codec::decoder(), "content") == "content");
}

TEST_CASE("a level range includes both ends") {
    CHECK(leveled::levels().contains(1));
    CHECK(leveled::levels().contains(3));
    CHECK_FALSE(leveled::levels().contains(0));
    CHECK_FALSE(leveled::levels().contains(4));
}
