// An archive for `docker load`, and back: whatever is written can be read, and has the same digest.

#include <shiplap/shiplap.hpp>

#include "demo_tree.hpp"

#include <iostream>

using namespace shiplap;

int main() {
    build_result const result{.layers = {directory_layer{.path = demo_tree("app"), .owners = root_owned}},
                              .platform = platform{.os = "linux", .architecture = "amd64"}};

    exporter out{uncompressed{}, docker_media_types{}, sha256{}, docker_archive_sink{"app.tar"}};
    auto const image = out(result, {.names = {"app:1.0", "app:latest"}});

    docker_archive_store const archive{"app.tar"};
    for (auto const& entry : archive.entries())
        std::cout << name_of_entry(entry).full
                  << "  same digest: " << (entry.digest == image.root.digest ? "yes" : "no") << '\n';
    std::cout << "media type  " << image.root.media_type << '\n' //
              << "image id    " << image.config.digest.text() << '\n';
}
