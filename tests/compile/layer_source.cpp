// reject 1: layer_source describes_itself description
// reject 2: layer_source contextless
#include <shiplap/layer/any.hpp>

using namespace shiplap;

struct empty_layer {
    void write_tar(byte_sink auto& out, layer_context const&) const {
        out.write(as_bytes(std::string(1024, '\0')));
    }
    std::string description() const { return "empty"; }
};
struct nameless {
    void write_tar(byte_sink auto&, layer_context const&) const {}
};
struct contextless {
    void write_tar(byte_sink auto&) const {}
    std::string description() const { return "contextless"; }
};

template <layer_source Layer>
struct uses {
    Layer layer;
};

any_layer_source right{empty_layer{}};
uses<empty_layer> right_too;
#if REJECT == 1
uses<nameless> wrong;
#elif REJECT == 2
uses<contextless> wrong;
#endif
