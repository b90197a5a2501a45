// reject 1: deflate_backend named_backend anonymous
// reject 2: deflate_backend block_packer compress
#include <shiplap/codec/gzip.hpp>

struct stored { // blocks as they are: RFC 1951, section 3.2.4
    static constexpr std::string_view name = "stored";
    static constexpr shiplap::level_range levels{-1, 0};
    struct packer {
        static std::size_t bound(std::size_t size) { return size; }
        static std::size_t compress(shiplap::bytes_view in, shiplap::bytes_span into) {
            std::memcpy(into.data(), in.data(), in.size());
            return in.size();
        }
    };
    static packer compressor(int) { return {}; }
};
struct anonymous {
    static constexpr shiplap::level_range levels{-1, 0};
    static stored::packer compressor(int) { return {}; }
};
struct expands {
    static constexpr std::string_view name = "expands";
    static constexpr shiplap::level_range levels{-1, 0};
    struct packer {
        static std::size_t bound(std::size_t size) { return size; }
    };
    static packer compressor(int) { return {}; }
};

shiplap::basic_gzip<stored> right;
#if REJECT == 1
shiplap::basic_gzip<anonymous> wrong;
#elif REJECT == 2
shiplap::basic_gzip<expands> wrong;
#endif
