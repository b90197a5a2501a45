#pragma once
// Image transports: "oci-layout:PATH[:NAME]" and its siblings -> a store to read from, or a sink.

#include <shiplap/shiplap.hpp>

#include "registries.hpp"

#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace shiplap_command {

/// A transport's parts. The name is what stands behind the first ':' of the rest, unless the whole rest is a path that
/// exists. "docker" has no path.
struct location {
    std::string transport, path, name;
};

/// Throws option_error; `role` says which argument it was.
location parse_location(char const* role, std::string const& text, std::string const& store);

using image_source = std::variant<shiplap::layout_store, shiplap::oci_archive_store,
                                  shiplap::docker_archive_store, registry_source>;

/// Opens the place that `where` names for reading.
image_source open_source(location const& where, shiplap::curl_registries const& registries);

/// The image that `where` names among those in its place.
shiplap::descriptor resolve(std::vector<shiplap::descriptor> const& entries, location const& where);
template <class Store>
shiplap::descriptor resolve_in(Store const& store, location const& where) {
    return resolve(store.entries(), where);
}
shiplap::descriptor resolve_in(registry_source const& store, location const& where);

} // namespace shiplap_command
