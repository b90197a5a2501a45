#pragma once
// How the command reaches registries.

#include <shiplap/registry/curl.hpp>

#include "command.hpp"

namespace shiplap_command {

using registry_source = shiplap::registry_store<shiplap::curl_registries::transport_type>;

/// With the logins of docker and podman; a signal ends the waiting, and `progress` hears of what is tried again. What makes later pushes shorter is kept in the folder
/// of the image store, if that can be written to.
shiplap::curl_registries open_registries(common_options const& common, shiplap::progress_ref progress);

} // namespace shiplap_command
