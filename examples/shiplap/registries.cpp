#include "registries.hpp"

#include <shiplap/export/dispatch.hpp>
#include <shiplap/store/created_paths.hpp>

#include "interruption.hpp"

#include <chrono>
#include <string>

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

curl_registries open_registries(common_options const& common, progress_ref progress) {
    auto const tell = [progress](remote_error const& failure, std::chrono::milliseconds pause) {
        if (pause < std::chrono::seconds{1}) return; // over before it is read
        auto const seconds = std::to_string((pause.count() + 500) / 1000);
        progress.warn(std::string{failure.what()} + "; trying again in " + seconds + " s");
    };

    return curl_registries{{.network = {.heartbeat = check_interrupted, .trusted = common.trusted},
                            .retries = {.budget = std::chrono::seconds{common.retry_seconds}},
                            .retry_notice = tell,
                            .insecure = common.insecure,
                            .transfers = common.transfers,
                            .state_folder = state_folder(common)}};
}

} // namespace shiplap_command
