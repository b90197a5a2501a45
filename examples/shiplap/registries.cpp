#include "registries.hpp"

#include <shiplap/export/dispatch.hpp>
#include <shiplap/store/created_paths.hpp>

#include "interruption.hpp"

#include <chrono>

#include <unistd.h>

namespace shiplap_command {

using namespace shiplap;

namespace {

// Made when there is something to remember; without a place for it pushes just take longer.
std::string state_folder(common_options const& common) {
    try {
        auto folder = (common.store.empty() ? default_store() : common.store) + "/.shiplap-registries";
        auto const existing = detail::existing_ancestor(folder);
        return ::access(existing.c_str(), W_OK | X_OK) == 0 ? folder : "";
    } catch (option_error const&) { // no home
        return "";
    }
}

} // namespace

curl_registries open_registries(common_options const& common) {
    return curl_registries{{.network = {.heartbeat = check_interrupted, .trusted = common.trusted},
                            .retries = {.budget = std::chrono::seconds{common.retry_seconds}},
                            .insecure = common.insecure,
                            .transfers = common.transfers,
                            .state_folder = state_folder(common)}};
}

} // namespace shiplap_command
