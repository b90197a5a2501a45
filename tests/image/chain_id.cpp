#include <shiplap/image/chain_id.hpp>

#include "support/catch.hpp"

#include <vector>

using namespace shiplap;

// The numbers are those of sha256sum: printf '%s %s' CHAIN DIFF_ID | sha256sum.
TEST_CASE("chain ids", "[chain_id]") {
    auto const a = digest::of<sha256>(as_bytes("a")), b = digest::of<sha256>(as_bytes("b")),
               c = digest::of<sha256>(as_bytes("c"));
    CHECK(chain_id({}).text() == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    CHECK(chain_id(std::vector{a}) == a);
    CHECK(chain_id(std::vector{a, b}).text() ==
          "sha256:51c0c8ace48498d6f5fee6b0592cc06f2da0f3cbe09c5a34a97dce85c3889676");
    CHECK(chain_id(std::vector{a, b, c}).text() ==
          "sha256:2fce7f8ce91bcf0a1428b36e1024639fdbd9469eea762dba98aa749631885106");

    auto const long_one = digest::of<sha512>(as_bytes("a"));
    CHECK(chain_id(std::vector{long_one}) == long_one);
    CHECK(chain_id(std::vector{long_one, long_one}).algorithm() == "sha256");
}
