// reject 1: byte_sink write deaf
// reject 2: byte_source mute
#include <shiplap/bytes/concept.hpp>

struct counter {
    std::size_t count = 0;
    void write(shiplap::bytes_view in) { count += in.size(); }
};
struct deaf {};
struct mute {
    void read(shiplap::bytes_span) {} // does not say how much
};

std::size_t use() {
    shiplap::null_source source;
    counter sink;
    shiplap::transfer(source, sink);
#if REJECT == 1
    deaf wrong;
    shiplap::transfer(source, wrong);
#elif REJECT == 2
    mute wrong;
    shiplap::transfer(wrong, sink);
#endif
    return sink.count;
}
