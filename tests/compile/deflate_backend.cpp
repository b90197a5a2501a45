// reject 1: deflate_backend named_backend anonymous
// reject 2: deflate_backend block_compressor compress
#include <shiplap/codec/gzip.hpp>

struct stored { // blocks as they are: RFC 1951, section 3.2.4
    static constexpr std::string_view name = "stored";
    struct compressor {
        explicit compressor(int) {}
        void compress(shiplap::bytes_view in, std::string& out) { out += shiplap::as_text(in); }
    };
};
struct anonymous {
    using compressor = stored::compressor;
};
struct expands {
    static constexpr std::string_view name = "expands";
    struct compressor {
        explicit compressor(int) {}
    };
};

shiplap::basic_gzip<stored> right;
#if REJECT == 1
shiplap::basic_gzip<anonymous> wrong;
#elif REJECT == 2
shiplap::basic_gzip<expands> wrong;
#endif
