#include <shiplap/digest/digest.hpp>
#include <shiplap/digest/sha2.hpp>

#include "support/catch.hpp"

using namespace shiplap;

static_assert(digest_algorithm<sha256> && digest_algorithm<sha512>);

// FIPS 180-4 examples.
TEST_CASE("known digests", "[sha2]") {
    CHECK(digest::of<sha256>({}).encoded() ==
          "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    CHECK(digest::of<sha256>(as_bytes("abc")).encoded() ==
          "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    CHECK(digest::of<sha512>(as_bytes("abc")).encoded() ==
          "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd45"
          "4d4423643ce80e2a9ac94fa54ca49f");
}

TEST_CASE("a hash does not depend on how its input is cut", "[sha2]") {
    std::string const text(100'000, 'a');
    sha256::hasher hasher;
    for (std::size_t at = 0, step = 1; at < text.size(); at += step, step = step * 2 % 8191 + 1)
        hasher.update(as_bytes(std::string_view{text}.substr(at, step)));
    CHECK(digest::from_raw<sha256>(hasher.finish()) == digest::of<sha256>(as_bytes(text)));
}
