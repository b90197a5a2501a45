// reject 1: digest_algorithm named_algorithm nameless
// reject 2: digest_algorithm hasher finish
#include <shiplap/digest/tap.hpp>

struct nameless {
    static constexpr std::size_t size = 32;
    using hasher = shiplap::sha256::hasher;
};
struct endless {
    static constexpr std::string_view name = "sha256";
    static constexpr std::size_t size = 32;
    struct hasher {
        void update(shiplap::bytes_view) {}
    };
};

shiplap::tap<shiplap::sha256> right;
#if REJECT == 1
shiplap::tap<nameless> wrong;
#elif REJECT == 2
shiplap::tap<endless> wrong;
#endif
