#include "registries.hpp"

#include <shiplap/export/dispatch.hpp>

#include "interruption.hpp"

#include <filesystem>
#include <system_error>

#include <unistd.h>

namespace shiplap_command {

using namespace shiplap;

namespace {

std::string state_folder(common_options const& common) {
    try {
        auto folder = (common.store.empty() ? default_store() : common.store) + "/.shiplap-registries";
        std::error_code problem;
        std::filesystem::create_directories(folder, problem);
        return !problem && ::access(folder.c_str(), W_OK | X_OK) == 0 ? folder : "";
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
