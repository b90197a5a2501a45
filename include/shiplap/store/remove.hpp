#pragma once
// remove_names: takes images out of the index of an OCI layout. Their blobs stay until garbage is collected
// (sink/collect.hpp): other images may consist of them, too.

#include <shiplap/bytes/file.hpp>
#include <shiplap/error.hpp>
#include <shiplap/image/descriptor.hpp>
#include <shiplap/store/layout.hpp>
#include <shiplap/store/layout_index.hpp>

#include <cstddef>
#include <set>
#include <span>
#include <string>
#include <vector>

namespace shiplap {

/// Removes the entries with these names from the layout in directory `path`, all of them or, if one is unknown, none. A
/// digest means all entries of that image, other names are understood as by find_reference(). Returns what was removed.
/// Throws error{not_found} that says which names there are.
inline std::vector<descriptor> remove_names(std::string const& path, std::span<std::string const> names) {
    layout_store const layout{path};
    static_cast<void>(layout.entries()); // throws if there is no layout to lock
    folder_lock const lock{layout.path()};
    auto const index = layout.path() + "/index.json";
    auto const text = read_file(index, max_document_size);
    auto const entries = parse_layout_index(text, index);

    std::set<std::size_t> places;
    for (auto const& name : names) {
        if (name.empty()) throw option_error{"remove image", name, "the name is empty"};
        auto const wanted = find_reference(entries, name, layout.path());
        bool const by_digest = wanted.digest.text() == name;
        for (std::size_t i = 0; i < entries.size(); ++i)
            if (entries[i].digest == wanted.digest &&
                (by_digest || name_of_entry(entries[i]) == name_of_entry(wanted)))
                places.insert(i);
    }
    std::vector<descriptor> removed;
    removed.reserve(places.size());
    for (auto const place : places) removed.push_back(entries[place]);
    if (!removed.empty()) {
        write_file(index, drop_from_layout_index(text, places, index));
        detail::sync_directory(layout.path());
    }
    return removed;
}

} // namespace shiplap
