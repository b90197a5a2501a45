// The policies can come from a string, in the grammar of `docker buildx build --output`. Both faces share
// everything but the dispatch, so both give the same digest.

#include <shiplap/shiplap.hpp>

#include "demo_tree.hpp"

#include <iostream>

using namespace shiplap;

int main() {
    build_result const result{.layers = {directory_layer{.path = demo_tree("app"), .owners = root_owned}},
                              .platform = platform{.os = "linux", .architecture = "amd64"}};

    for (std::string const codec : {"uncompressed", "gzip", "estargz", "zstd"}) {
        auto const spec = export_spec::from(
            parse_attributes("type=oci,dest=" + codec + ".tar,name=example.com/app,compression=" + codec));
        auto const image = export_image(spec, result);
        std::cout << codec << "  " << image.layers[0].encoding << "  " << image.root.media_type << '\n';
    }

    auto const chosen =
        export_image(export_spec::from(parse_attributes("type=oci,dest=a.tar,compression=zstd")), result);
    exporter fixed{zstd{}, oci_media_types{}, sha256{}, oci_archive_sink{"b.tar"}};
    std::cout << "same digest  " << (fixed(result).root.digest == chosen.root.digest ? "yes" : "no") << '\n';

    try {
        (void)export_spec::from(parse_attributes("type=oci,dest=a.tar,compresion=zstd"));
    } catch (option_error const& problem) {
        std::cout << problem.what() << '\n';
    }
}
