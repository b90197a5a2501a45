// What a user's program may look like that pushes. Nobody listens where this one pushes to, and it wants to hear so.

#ifdef SINGLE_HEADER
#include <shiplap/shiplap_curl.hpp>
#else
#include <shiplap/registry/curl.hpp>
#include <shiplap/shiplap.hpp>
#endif

#include <cstdio>
#include <filesystem>

int main() try {
    std::filesystem::create_directory("pushed");
    shiplap::write_file("pushed/greeting", "hello\n");

    shiplap::curl_registries const registries{{.retries = {.budget = std::chrono::milliseconds{0}}}};
    shiplap::exporter out{shiplap::zstd{}, shiplap::oci_media_types{}, shiplap::sha256{},
                          registries.sink({shiplap::reference::parse("127.0.0.1:1/app:1.0")})};
    out({.layers = {shiplap::directory_layer{"pushed"}}});
    return 1;
} catch (shiplap::transport_error const& failure) {
    std::puts(failure.what());
    return failure.kind() == shiplap::transport_failure::connect ? 0 : 1;
}
