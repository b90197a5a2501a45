#pragma once
// oci_archive_store: the images of an OCI archive, a tar file of an OCI image layout, read in place.
//
//     oci_archive_store archive{"app.tar"};
//     copy(archive.resolve("app:1"), names, archive, sink, env);
//
// See archive.hpp for what is accepted as a tar file. Blobs are handed out as they lie there: who reads them
// verifies, as copy() does (image-spec, image-layout.md).

#include <shiplap/digest/digest.hpp>
#include <shiplap/error.hpp>
#include <shiplap/image/descriptor.hpp>
#include <shiplap/image/reference.hpp>
#include <shiplap/store/archive.hpp>
#include <shiplap/store/concept.hpp>
#include <shiplap/store/layout_index.hpp>

#include <algorithm>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace shiplap {

namespace detail {

/// The index.json of a layout in a tar file. Throws format_error, error{not_found} if a part is missing.
inline std::vector<descriptor> read_layout_entries(archive_files const& files) {
    check_layout_header(files.text("oci-layout"), files.path() + ": oci-layout");
    return parse_layout_index(files.text("index.json"), files.path() + ": index.json");
}

} // namespace detail

/// As find_entry(), but `name` may also be what people write for a full name, "app" for
/// docker.io/library/app:latest.
inline descriptor find_archived(std::span<descriptor const> entries, std::string_view name,
                                std::string_view path) {
    std::string full;
    try {
        if (!name.empty()) full = name_of(reference::parse(name)).full;
    } catch (option_error const&) { // then it is none, but a ref.name or a digest may look like anything
    }
    bool const found = !full.empty() && std::any_of(entries.begin(), entries.end(), [&](auto const& entry) {
        return name_of_entry(entry).full == full;
    });
    return find_entry(entries, found ? std::string_view{full} : name, path);
}

/// A blob_reader_source.
class oci_archive_store {
  public:
    /// Opens the file and reads its headers and its index. Throws system_error, format_error.
    explicit oci_archive_store(std::string path) : files_{std::move(path)} {
        if (!files_.contains("oci-layout"))
            throw format_error{"read archive", files_.path(),
                               files_.contains("manifest.json")
                                   ? "is a docker archive, not an OCI archive: it has no file 'oci-layout'"
                                   : "is no OCI archive: it has no file 'oci-layout'"};
        entries_ = detail::read_layout_entries(files_);
    }

    [[nodiscard]] bool contains(digest const& which) const {
        return files_.contains(detail::blob_member(which));
    }
    /// Reads independently of all other readers, and even after the store is gone.
    [[nodiscard]] file_window reader(digest const& which) const {
        return files_.open(detail::blob_member(which));
    }

    /// The images that index.json lists.
    [[nodiscard]] std::vector<descriptor> const& entries() const noexcept { return entries_; }
    /// The image called `name`: see find_archived().
    [[nodiscard]] descriptor resolve(std::string_view name) const {
        return find_archived(entries_, name, files_.path());
    }

    [[nodiscard]] std::string const& path() const noexcept { return files_.path(); }

  private:
    archive_files files_;
    std::vector<descriptor> entries_;
};

} // namespace shiplap
