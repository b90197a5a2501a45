#include <shiplap/codec/any_backend.hpp>
#include <shiplap/codec/libdeflate_backend.hpp>

#include "codec/backend_checks.hpp"

using namespace codec_tests;

static_assert(deflate_backend<any_backend> && checksummer<any_compressor>);

TEST_CASE("any backend is the one that it was made of") {
    auto const check = [](auto const& backend) {
        any_backend const any = backend;
        CHECK(any.name == backend.name);
        CHECK(any.levels == backend.levels);
        auto const content = prose(mebibyte) + noise(mebibyte);
        CHECK(pack(basic_gzip<any_backend>{.level = 1, .backend = any}, content, 2) ==
              pack(basic_gzip<std::remove_cvref_t<decltype(backend)>>{.level = 1}, content));
        auto compressor = any.compressor(1);
        CHECK(compressor.crc32(as_bytes("123456789")) == 0xcbf43926);
    };
    check(zlib_backend{});
    check(libdeflate_backend{});
    CHECK(any_backend{} == any_backend{zlib_backend{}});
    CHECK_FALSE(any_backend{} == any_backend{libdeflate_backend{}});
}

TEST_CASE("levels are those of the backend that was chosen") {
    basic_gzip<any_backend> how{.level = 12};
    CHECK_THROWS_AS(how.encoder({}), option_error);
    how.backend = libdeflate_backend{};
    CHECK_NOTHROW(how.encoder({}));
}
