// What a user's program may look like: exports a folder into an OCI layout. The projects beside this file
// build it, each in its own way of finding shiplap.

#include <shiplap/shiplap.hpp>

#include <cstdio>
#include <filesystem>

int main() try {
    namespace fs = std::filesystem;
    fs::remove_all("app");
    fs::remove_all("layout");
    fs::create_directory("app");
    shiplap::write_file("app/greeting", "hello\n");

#ifdef CORE_ONLY
    shiplap::uncompressed const codec;
#else
    shiplap::zstd const codec{.level = 3};
#endif
    shiplap::exporter out{codec, shiplap::oci_media_types{}, shiplap::sha256{},
                          shiplap::layout_sink{"layout"}};
    auto const image = out({.layers = {shiplap::directory_layer{"app"}}}, {.names = {"example.com/app:1.0"}});

    std::puts(image.root.digest.text().c_str());
    return fs::exists("layout/index.json") && image.layers.size() == 1 ? 0 : 1;
} catch (shiplap::error const& failure) {
    std::fputs(failure.what(), stderr);
    return 1;
}
