// From a directory to an OCI layout that skopeo, umoci, podman and buildah read: `skopeo inspect
// oci:app-layout:1.0`.

#include <shiplap/shiplap.hpp>

#include "demo_tree.hpp"

#include <iostream>

using namespace shiplap;

int main() {
    build_result result{.layers = {directory_layer{.path = demo_tree("app"), .owners = root_owned}},
                        .platform = platform{.os = "linux", .architecture = "amd64"}};
    result.changes.entrypoint = {"/bin/hello"};
    result.changes.labels = {{"org.example.purpose", "demo"}};

    exporter out{uncompressed{}, oci_media_types{}, sha256{}, layout_sink{"app-layout"}};
    auto const image = out(result, {.names = {"example.com/app:1.0"}});

    std::cout << "manifest  " << image.root.digest.text() << '\n' //
              << "config    " << image.config.digest.text() << '\n';
    for (auto const& entry : layout_store{"app-layout"}.entries())
        std::cout << "named     " << name_of_entry(entry).full << '\n';
}
