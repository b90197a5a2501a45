#include <shiplap/digest/digest.hpp>

#include "support/catch.hpp"

using namespace shiplap;

TEST_CASE("a digest is parsed and shown unchanged", "[digest]") {
    auto const text = GENERATE("sha256:" + std::string(64, '0'), "sha512:" + std::string(128, 'f'));
    auto const parsed = digest::parse(text);
    CHECK(parsed.text() == text);
    CHECK(std::string{parsed.algorithm()} + ":" + std::string{parsed.encoded()} == text);
}

TEST_CASE("what is no digest is refused", "[digest]") {
    auto const text = GENERATE(values<std::string>({
        "",
        "sha256",
        ":",
        "sha256:",
        std::string(64, '0'),
        "sha256:" + std::string(63, '0'),
        "sha256:" + std::string(65, '0'),
        "sha256:" + std::string(63, '0') + "A",
        "sha256:" + std::string(63, '0') + "g",
        "sha512:" + std::string(64, '0'),
        "SHA256:" + std::string(64, '0'),
        "md5:" + std::string(32, '0'),
        "sha256:../" + std::string(61, '0'),
        "sha256:" + std::string(63, '0') + "\n",
        " sha256:" + std::string(64, '0'),
    }));
    CHECK_THROWS_AS(digest::parse(text), format_error);
}

TEST_CASE("a verifier accepts just what was promised", "[digest]") {
    std::string const text = "content";
    auto const expected =
        GENERATE_COPY(digest::of<sha256>(as_bytes(text)), digest::of<sha512>(as_bytes(text)));
    auto const check = [&](std::string_view bytes, std::uint64_t size) {
        digest_verifier verifier{expected, size};
        for (auto const c : bytes) verifier.write(as_bytes({&c, 1}));
        verifier.finish();
    };
    CHECK_NOTHROW(check(text, 7));
    CHECK_THROWS_WITH(check("contenT", 7), contains("digest"));
    CHECK_THROWS_WITH(check("conten", 7), contains("6 bytes") && contains("says 7"));
    CHECK_THROWS_WITH(check(text, 6), contains("longer"));
    CHECK_THROWS_AS(check(text, 8), digest_mismatch);
    CHECK_NOTHROW(verify(as_bytes(text), expected));
    CHECK_THROWS_AS(verify(as_bytes("other"), expected), digest_mismatch);
}

TEST_CASE("a verifier complains before it reads too much", "[digest]") {
    digest_verifier verifier{digest::of<sha256>({}), 3};
    verifier.write(as_bytes("abc"));
    CHECK_THROWS_AS(verifier.write(as_bytes("d")), digest_mismatch);
}
