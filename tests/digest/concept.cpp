#include <shiplap/digest/concept.hpp>

#include "support/catch.hpp"

using namespace shiplap;

namespace {

// The exemplar of digest/concept.hpp, with a hash that is easy to predict.
struct my_hash {
    static constexpr std::string_view name = "sha256";
    static constexpr std::size_t size = 32;
    struct hasher {
        char sum = 0;
        void update(bytes_view in) {
            for (auto const b : in) sum = static_cast<char>(sum + std::to_integer<char>(b));
        }
        std::string finish() { return std::string(size, sum); }
    };
};

struct nameless {
    [[maybe_unused]] static constexpr std::size_t size = 32;
    using hasher = my_hash::hasher;
};

struct no_finish {
    static constexpr std::string_view name = "sha256";
    static constexpr std::size_t size = 32;
    struct hasher {
        void update(bytes_view) {}
    };
};

static_assert(digest_algorithm<my_hash> && hasher<my_hash::hasher>);
static_assert(!digest_algorithm<nameless>);
static_assert(!digest_algorithm<no_finish>);

} // namespace

TEST_CASE("the exemplar hashes", "[digest]") {
    my_hash::hasher hasher;
    hasher.update(as_bytes("\x01\x02"));
    CHECK(hasher.finish() == std::string(32, '\x03'));
}
