// reject 1: byte_decoder reads_from
#include <shiplap/bytes/concept.hpp>

struct identity {
    std::size_t read(shiplap::byte_source auto& in, shiplap::bytes_span into) { return in.read(into); }
};
struct pushes {
    void write(shiplap::bytes_view in, shiplap::byte_sink auto& out) { out.write(in); }
    void finish(shiplap::byte_sink auto&) {}
};

shiplap::decoded_source<identity, shiplap::null_source> right;
#if REJECT == 1
shiplap::decoded_source<pushes, shiplap::null_source> wrong;
#endif
