#include "transports.hpp"

#include <algorithm>
#include <array>
#include <filesystem>

namespace shiplap_command {

using namespace shiplap;

location parse_location(char const* role, std::string const& text, std::string const& store) {
    constexpr std::array<std::string_view, 6> known{"oci-layout", "oci-archive", "docker-archive",
                                                    "docker",     "store",       "rootfs"};
    auto const colon = text.find(':');
    location where{text.substr(0, colon), {}, {}};
    if (colon == std::string::npos || std::find(known.begin(), known.end(), where.transport) == known.end())
        throw option_error{
            role,
            "'" + printable(text) +
                "' names no image: expected oci-layout:PATH[:NAME], oci-archive:FILE[:NAME], "
                "docker-archive:FILE[:NAME], docker://NAME, store:NAME or, as a destination, rootfs:DIR"};
    auto const rest = text.substr(colon + 1);
    if (rest.empty()) throw option_error{role, "'" + printable(text) + "': nothing behind the colon"};
    if (where.transport == "docker") {
        if (!rest.starts_with("//"))
            throw option_error{role, "'" + printable(text) +
                                         "': expected docker://NAME, such as docker://r.io/app:1"};
        auto const name = rest.substr(2), first = name.substr(0, name.find(':'));
        if (name.find('/') == std::string::npos &&
            (first.find('.') != std::string::npos || first == "localhost"))
            throw option_error{role, "'" + printable(text) +
                                         "' names a registry without a repository: write docker://" +
                                         printable(first) + "/REPOSITORY:TAG"};
        where.name = reference::parse(name).with_default_tag().text();
        return where;
    }
    if (where.transport == "store") {
        where.path = store.empty() ? default_store() : store;
        where.name = rest;
        return where;
    }
    auto const parting =
        where.transport == "rootfs" || std::filesystem::exists(rest) ? std::string::npos : rest.find(':');
    where.path = rest.substr(0, parting);
    if (parting != std::string::npos) where.name = rest.substr(parting + 1);
    return where;
}

image_source open_source(location const& where, curl_registries const& registries) {
    if (where.transport == "docker") return registries.source(reference::parse(where.name));
    if (where.transport == "oci-archive") return oci_archive_store{where.path};
    if (where.transport == "docker-archive") return docker_archive_store{where.path};
    if (where.transport == "rootfs")
        throw option_error{"SRC", "a root file system is no image; export it: shiplap -o ... " +
                                      printable(where.path)};
    return layout_store{where.path};
}

descriptor resolve(std::vector<descriptor> const& entries, location const& where) {
    return find_reference(entries, where.name, where.path);
}

descriptor resolve_in(registry_source const& store, location const& where) {
    auto const name = reference::parse(where.name);
    auto root = store.resolve(name.digest() ? name.digest()->text() : name.tag());
    return named_entry(std::move(root), name_of(name));
}

std::vector<std::string> references_in(image_source const& source, location const& where) {
    auto const names = std::visit(
        [&]<class Store>(Store const& store) {
            if constexpr (std::same_as<Store, registry_source>) // without asking it
                return std::vector{name_of(reference::parse(where.name))};
            else
                return names_in(store, where, resolve_in(store, where));
        },
        source);
    std::vector<std::string> out;
    for (auto const& name : names) {
        auto const& text = name.full.empty() ? name.ref_name : name.full;
        // A ref.name alone is most often just a tag.
        bool const is_whole = !name.full.empty() || text.find_first_of("/:") != std::string::npos;
        if (is_whole && text.find('@') == std::string::npos) out.push_back(text);
    }
    return out;
}

} // namespace shiplap_command
