#include <shiplap/bytes/pipeline.hpp>
#include <shiplap/codec/gzip.hpp>
#include <shiplap/sink/plain_layer.hpp>

#include "support/catch.hpp"

using namespace shiplap;

namespace {

std::string packed(std::string const& text) {
    auto encoder = gzip{}.encoder({});
    string_sink out;
    pipeline pipe{encoder, out};
    pipe.write(as_bytes(text));
    pipe.finish();
    return out.text;
}

std::string read_all(std::string const& blob, digest const& expected, extraction_limits const& limits = {}) {
    span_source source{blob};
    detail::plain_layer plain{replayable_source_ref{source}, "gzip", expected, limits, "layer 1"};
    std::string out(3, '\0');
    out.resize(read_fully(
        plain, {reinterpret_cast<std::byte*>(out.data()), out.size()})); // the rest is for finish()
    plain.finish();
    return out;
}

} // namespace

TEST_CASE("a layer is what its configuration says, or is refused", "[plain_layer]") {
    auto const blob = packed("content");
    CHECK(read_all(blob, digest::of<sha256>(as_bytes("content"))) == "con");
    CHECK(read_all(blob, digest::of<sha512>(as_bytes("content"))) == "con");
    CHECK_THROWS_AS(read_all(blob, digest::of<sha256>(as_bytes("other"))), digest_mismatch);
    CHECK_THROWS_AS(read_all(blob.substr(0, 20), digest::of<sha256>(as_bytes("content"))), format_error);
}

TEST_CASE("a layer may expand so far and no further", "[plain_layer]") {
    std::string const zeros(1 << 20, '\0');
    auto const blob = packed(zeros);
    auto const whole = digest::of<sha256>(as_bytes(zeros));
    CHECK_NOTHROW(read_all(blob, whole));
    CHECK_THROWS_WITH(read_all(blob, whole, {.bytes = 1000}),
                      Catch::Matchers::Contains("more than 1000 plain bytes"));
    CHECK_THROWS_WITH(read_all(blob, whole, {.expansion = 10, .free_expansion = 1000}),
                      Catch::Matchers::Contains("expands to more than 10 times"));
}

TEST_CASE("diff_ids are as many as the layers", "[plain_layer]") {
    std::string const config =
        R"({"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":[")" +
        digest::of<sha256>({}).text() + R"("]}})";
    auto const read = [&](std::size_t layers, std::uint64_t size) {
        span_source source{config};
        return detail::read_diff_ids(
            {.media_type = "m", .digest = digest::of<sha256>(as_bytes(config)), .size = size},
            replayable_source_ref{source}, layers);
    };
    CHECK(read(1, config.size()) == std::vector<digest>{digest::of<sha256>({})});
    CHECK_THROWS_WITH(read(2, config.size()), Catch::Matchers::Contains("has 1 diff_ids for 2 layers"));
    CHECK_THROWS_AS(read(1, std::uint64_t{1} << 30), format_error);
}
