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

/// What `root`, which `where` names, is called there: if that names it, by that one name.
template <class Store>
std::vector<shiplap::image_name> names_in(Store const& store, location const& where,
                                          shiplap::descriptor const& root) {
    if (!where.name.empty()) return {shiplap::name_of_entry(root)};
    std::vector<shiplap::image_name> names;
    if constexpr (!std::same_as<Store, registry_source>) // there, an image is found by its name only
        for (auto const& entry : store.entries())
            if (entry.digest == root.digest) names.push_back(shiplap::name_of_entry(entry));
    return names;
}

/// Those of its names that an image made of it can have: whole references without a digest.
std::vector<std::string> references_in(image_source const& source, location const& where);

} // namespace shiplap_command
