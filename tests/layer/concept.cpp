#include <shiplap/layer/concept.hpp>
#include <shiplap/store/memory.hpp>
#include <shiplap/tar/writer.hpp>

#include "support/catch.hpp"

using namespace shiplap;

namespace {

struct empty_layer {
    void write_tar(byte_sink auto& out, layer_context const&) const { tar_writer{out}.finish(); }
    [[nodiscard]] std::string description() const { return "empty"; }
};

struct sized : empty_layer {
    [[nodiscard]] std::uint64_t estimated_size() const { return 1024; }
};

struct packed {
    [[nodiscard]] std::string description() const { return "packed"; }
    [[nodiscard]] layer_blob stored() const;
    [[nodiscard]] span_source reader() const;
};

struct nameless {
    void write_tar(byte_sink auto&, layer_context const&) const {}
};

struct silent {
    [[nodiscard]] std::string description() const { return "silent"; }
};

static_assert(layer_source<empty_layer> && !sized_layer<empty_layer> && !stored_layer<empty_layer>);
static_assert(sized_layer<sized>);
static_assert(layer_source<packed> && stored_layer<packed>);
static_assert(!layer_source<nameless>);
static_assert(!layer_source<silent>);

} // namespace

TEST_CASE("an empty layer is two zero blocks", "[layer]") {
    string_sink out;
    empty_layer{}.write_tar(out, {});
    CHECK(digest::of<sha256>(as_bytes(out.text)).text() ==
          "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef");
}

TEST_CASE("a context keeps times and tells nobody unless asked to", "[layer]") {
    layer_context const context;
    CHECK(context.time(timestamp{-5, 3}) == timestamp{-5, 3});
    CHECK(context.time.keeps());
    context.progress.warn("nobody hears this");
}
