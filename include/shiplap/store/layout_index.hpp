#pragma once
// layout_index: the index.json of an OCI image layout as text. It says which images a layout or an archive
// holds, and what they are called (image-spec, image-layout.md, "index.json file"; annotations.md).
//
// An image has up to two names there, both annotations of its entry: org.opencontainers.image.ref.name, which
// most tools take for the tag, and io.containerd.image.name, the full reference, which containerd prefers.
// Together they are what identifies an entry.

#include <shiplap/error.hpp>
#include <shiplap/image/descriptor.hpp>
#include <shiplap/image/index.hpp>
#include <shiplap/image/json.hpp>
#include <shiplap/image/media_types.hpp>
#include <shiplap/image/reference.hpp>

#include <algorithm>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace shiplap {

inline constexpr char ref_name_annotation[] = "org.opencontainers.image.ref.name";
inline constexpr char image_name_annotation[] = "io.containerd.image.name";

/// The content of every layout's file oci-layout (image-spec, image-layout.md, "oci-layout file").
inline constexpr std::string_view layout_header = R"({"imageLayoutVersion":"1.0.0"})";

/// Throws format_error unless `text` is the oci-layout file of a version that is understood.
inline void check_layout_header(std::string_view text, std::string_view subject) {
    auto const header = parse_json(text, subject);
    auto const written = json_node{header, subject}["imageLayoutVersion"];
    if (written.text() != "1.0.0") written.refuse("only layout version 1.0.0 is understood");
}

/// The entry that calls an image `name`, whatever it was called where it comes from.
inline descriptor named_entry(descriptor root, image_name const& name) {
    root.annotations.erase(ref_name_annotation);
    root.annotations.erase(image_name_annotation);
    if (!name.ref_name.empty()) root.annotations[ref_name_annotation] = name.ref_name;
    if (!name.full.empty()) root.annotations[image_name_annotation] = name.full;
    return root;
}

/// The names of an entry.
inline image_name name_of_entry(descriptor const& entry) {
    auto const annotation = [&](char const* key) {
        auto const found = entry.annotations.find(key);
        return found == entry.annotations.end() ? std::string{} : found->second;
    };
    return {annotation(image_name_annotation), annotation(ref_name_annotation)};
}

/// The entries of an index.json. `subject` names it in messages. Throws format_error.
inline std::vector<descriptor> parse_layout_index(std::string_view text, std::string_view subject) {
    return parse_index(text, subject, oci_media_types::index).manifests;
}

namespace detail {

inline std::string list_names(std::span<descriptor const> entries) {
    std::string out;
    for (auto const& entry : entries) {
        auto const name = name_of_entry(entry);
        out += out.empty() ? "" : ", ";
        out += !name.full.empty() ? name.full : !name.ref_name.empty() ? name.ref_name : entry.digest.text();
    }
    return printable(out);
}

/// The entry that fits; none if there is none; an error if several do and are different images.
template <class Fits>
descriptor const* the_one(std::span<descriptor const> entries, std::string_view name,
                          std::string_view subject, Fits fits) {
    descriptor const* found = nullptr;
    for (auto const& entry : entries) {
        if (!fits(entry)) continue;
        if (found && found->digest != entry.digest)
            throw error{error_code::not_found, "find image", std::string{subject},
                        (name.empty() ? std::string{"it holds several"}
                                      : "several are called '" + printable(name) + "'") +
                            "; choose one of these: " + list_names(entries)};
        if (!found) found = &entry;
    }
    return found;
}

} // namespace detail

/// The entry that `name` means: by its full name, else by its ref.name, else by its digest. An empty name
/// means the only image. `subject` is the path of the layout. Throws error{not_found} that lists the names.
inline descriptor find_entry(std::span<descriptor const> entries, std::string_view name,
                             std::string_view subject) {
    using detail::the_one;
    auto const* found = the_one(entries, name, subject, [&](descriptor const& entry) {
        return name.empty() || name_of_entry(entry).full == name;
    });
    if (!found)
        found = the_one(entries, name, subject,
                        [&](descriptor const& entry) { return name_of_entry(entry).ref_name == name; });
    if (!found)
        found = the_one(entries, name, subject,
                        [&](descriptor const& entry) { return entry.digest.text() == name; });
    if (found) return *found;
    throw error{error_code::not_found, "find image", std::string{subject},
                entries.empty() ? "it holds no image"
                                : "none is called '" + printable(name) +
                                      "'; choose one of these: " + detail::list_names(entries)};
}

/// As find_entry(), for a name as people write it: "app:1" also means docker.io/library/app:1.
inline descriptor find_reference(std::span<descriptor const> entries, std::string_view name,
                                 std::string_view subject) {
    std::string full;
    try {
        full = reference::parse(name).with_default_tag().text();
    } catch (option_error const&) { // no reference, but it may be a digest or a ref.name
        return find_entry(entries, name, subject);
    }
    bool const known = std::any_of(entries.begin(), entries.end(), [&](descriptor const& entry) {
        return name_of_entry(entry).full == full;
    });
    return find_entry(entries, known ? full : name, subject);
}

/// The text of an index.json with `entries` added to `existing`, if there is one.
///
/// An entry takes the place of the one with the same two names or, if it has none, of the nameless one with
/// the same digest. All others stay, in their order, with all their members, known or not. Throws
/// format_error if `existing` is broken.
inline std::string merge_layout_index(std::optional<std::string> const& existing,
                                      std::span<descriptor const> entries, std::string_view subject) {
    auto index = to_json(image_index{.media_type = std::string{oci_media_types::index}});
    std::vector<descriptor> known; // what `list` holds, element by element
    if (existing) {
        known = parse_layout_index(*existing, subject); // who cannot read it must not edit it
        index = parse_json(*existing, subject);
    }
    if (auto& type = detail::member(index, "mediaType"); type.is_null())
        type = detail::json_text(std::string{oci_media_types::index});
    auto& manifests = detail::member(index, "manifests");
    if (manifests.is_null()) manifests = detail::empty_array();

    auto& list = *manifests.get_ptr<json::array_t*>();
    for (auto const& entry : entries) {
        auto const name = name_of_entry(entry);
        auto const place = std::find_if(known.begin(), known.end(), [&](descriptor const& there) {
            return name_of_entry(there) == name && (name != image_name{} || there.digest == entry.digest);
        });
        if (place == known.end()) {
            known.push_back(entry);
            list.push_back(to_json(entry));
        } else {
            list[static_cast<std::size_t>(place - known.begin())] = to_json(entry);
            *place = entry;
        }
    }
    auto text = compact(index);
    if (text.size() > max_document_size)
        throw format_error{"write", std::string{subject},
                           "would have more than " + std::to_string(max_document_size) + " bytes"};
    return text;
}

/// The text of the index.json `existing` without the entries at these places, as parse_layout_index() counts them.
/// Members that shiplap does not know stay.
inline std::string drop_from_layout_index(std::string_view existing, std::set<std::size_t> const& places,
                                          std::string_view subject) {
    static_cast<void>(parse_layout_index(existing, subject)); // who cannot read it must not edit it
    auto index = parse_json(existing, subject);
    auto& manifests = detail::member(index, "manifests");
    auto kept = detail::empty_array();
    std::size_t place = 0;
    if (auto* const list = manifests.get_ptr<json::array_t*>())
        for (auto& entry : *list)
            if (!places.contains(place++)) detail::add_item(kept, std::move(entry));
    manifests = std::move(kept);
    return compact(index);
}

} // namespace shiplap
