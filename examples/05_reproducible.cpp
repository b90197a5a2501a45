// Same input, same bytes: for any number of threads, and on any day. With an epoch, also for files that were
// touched since: clamp_timestamps is one of the policies that an env carries.

#include <shiplap/shiplap.hpp>

#include "demo_tree.hpp"

#include <iostream>

using namespace shiplap;

struct clamped_env : default_env {
    clamp_timestamps timestamps{{.seconds = 1'600'000'000}};
};

std::string export_once(std::string const& tree, auto env) {
    exporter out{gzip{}, oci_media_types{}, sha256{}, memory_sink{}, env};
    build_result const result{.layers = {directory_layer{.path = tree, .owners = root_owned}},
                              .platform = platform{.os = "linux", .architecture = "amd64"}};
    return out(result, {.names = {"app:1"}, .epoch = 1'600'000'000}).root.digest.text();
}

int main() {
    auto const tree = demo_tree("app");
    default_env one_thread, many_threads;
    one_thread.executor = shared_pool{1};
    many_threads.executor = shared_pool{8};

    auto const first = export_once(tree, one_thread);
    std::cout << "threads do not matter      " << (export_once(tree, many_threads) == first) << '\n';

    auto const clamped = export_once(tree, clamped_env{});
    std::filesystem::last_write_time(tree + "/motd", std::filesystem::file_time_type::clock::now());
    std::cout << "a touched file matters     " << (export_once(tree, one_thread) != first) << '\n'
              << "not if times are clamped   " << (export_once(tree, clamped_env{}) == clamped) << '\n';
}
