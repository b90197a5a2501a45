// A sink of your own: four functions, and everything that is exported can go there. This one keeps nothing
// and prints the order in which an image is delivered: what is named comes after all that it names.

#include <shiplap/shiplap.hpp>

#include "demo_tree.hpp"

#include <iostream>

using namespace shiplap;

struct printing_sink {
    bool exists(descriptor const&) const { return false; }

    void put(descriptor const& what, replayable_source_ref from) {
        null_sink nowhere;
        std::cout << "put " << what.media_type << ", "
                  << (transfer(from, nowhere) == what.size ? "all" : "not all") << " of it\n";
    }

    void tag(descriptor const&, image_name const& name) { std::cout << "tag " << name.full << '\n'; }

    void commit() { std::cout << "commit\n"; }
};

static_assert(image_sink<printing_sink>);

int main() {
    exporter out{zstd{}, oci_media_types{}, sha512{}, printing_sink{}};
    out(build_result{.layers = {directory_layer{.path = demo_tree("app"), .owners = root_owned}}},
        {.names = {"example.com/app:1"}});
}
