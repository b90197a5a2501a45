#pragma once
// layout_store: an OCI image layout, the directory form of images (image-spec, image-layout.md):
//
//     oci-layout                 the version of the form
//     index.json                 which images there are, and their names
//     blobs/<algorithm>/<hex>    everything they consist of
//
// New blobs wait without a name on the file system of the layout and become files only in publish(), which
// then replaces index.json in one step, under a lock on the directory. So a failed or killed export leaves a
// layout as it was, and two exports into one layout at the same time both end up in it. A directory that does
// not exist is made by publish() and not before.

#include <shiplap/bytes/file.hpp>
#include <shiplap/error.hpp>
#include <shiplap/image/descriptor.hpp>
#include <shiplap/store/blob_lease.hpp>
#include <shiplap/store/concept.hpp>
#include <shiplap/store/created_paths.hpp>
#include <shiplap/store/layout_index.hpp>
#include <shiplap/store/scratch.hpp>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <sys/stat.h>

namespace shiplap {

class layout_store {
  public:
    using writer = scratch_store::writer;

    /// The layout in directory `path`, which need not exist yet. Touches nothing. Throws system_error if
    /// `path` is something else, format_error if it is a directory of other things or a layout of an unknown
    /// version.
    explicit layout_store(std::string path) : path_{without_slashes(std::move(path))}, pending_{path_} {
        if (path_.empty()) throw option_error{"open layout", path_, "the path must not be empty"};
        (void)check_folder();
    }

    [[nodiscard]] std::string const& path() const noexcept { return path_; }

    /// A new blob: staged until publish(), gone if there is none.
    [[nodiscard]] writer open() {
        // Where the blobs will be, or are: "blobs" may be a mount or a symbolic link.
        return pending_.open(detail::existing_ancestor(path_ + "/blobs"));
    }

    [[nodiscard]] bool contains(digest const& which) const {
        if (pending_.contains(which)) return true;
        auto const facts = detail::file_facts(blob_path(which));
        return facts && S_ISREG(facts->st_mode);
    }

    /// Such a blob is staged: it was hashed on its way in, and has no name before publish().
    [[nodiscard]] bool owns(content_facts const& what) const { return pending_.owns(what); }

    /// Staged blobs are found as well.
    [[nodiscard]] file_reader reader(digest const& which) const {
        if (auto staged = pending_.find(which)) return std::move(*staged);
        auto const path = blob_path(which);
        auto const facts = detail::file_facts(path);
        if (!facts || !S_ISREG(facts->st_mode)) // opening a fifo would wait for ever
            throw error{error_code::not_found, "read blob", which.text(),
                        "not in layout '" + printable(path_) + "'"};
        return file_reader{path};
    }

    /// Whether the blob is here with the size and digest that it should have. Reads it once, unless it is
    /// staged: those were verified when they were written. From then on shiplap's own garbage collection
    /// leaves it alone, as long as this store lives; publish() fails if somebody else has removed it.
    [[nodiscard]] bool holds(content_facts const& what) {
        if (auto const staged = pending_.find(what.digest)) return size_of(*staged) == what.size;
        auto const facts = detail::file_facts(blob_path(what.digest));
        if (!facts || !S_ISREG(facts->st_mode) || static_cast<std::uint64_t>(facts->st_size) != what.size)
            return false;
        {
            std::lock_guard const lock{relied_->mutex};
            if (relied_->blobs.contains(what.digest)) return true;
        }
        auto blob = lease(what.digest);
        if (!blob) return false;
        try {
            verified_source source{replayable_source_ref{*blob}, what.digest, what.size};
            null_sink nowhere;
            transfer(source, nowhere);
        } catch (digest_mismatch const&) {
            return false;
        }
        std::lock_guard const lock{relied_->mutex};
        // Each lease is an open file. Of an image that has more blobs than that, publish() finds out in the end.
        if (relied_->blobs.insert(what.digest).second && relied_->leases.size() < max_leases)
            relied_->leases.push_back(std::move(*blob));
        return true;
    }

    /// The images that index.json lists. Throws error{not_found} if there is no layout, format_error.
    [[nodiscard]] std::vector<descriptor> entries() const {
        auto const index = path_ + "/index.json";
        if (!check_folder() || !detail::file_facts(index))
            throw error{error_code::not_found, "open layout", path_, "there is no OCI image layout"};
        return parse_layout_index(read_file(index, max_document_size), index);
    }

    /// The image called `name`: see find_entry().
    [[nodiscard]] descriptor resolve(std::string_view name) const {
        return find_entry(entries(), name, path_);
    }

    /// Makes all staged blobs visible and durable, then enters `entries` in index.json: see
    /// merge_layout_index(). A staged blob replaces a file of its name, which may have been damaged. If it
    /// throws, index.json is as before and files that it made are gone again.
    void publish(std::span<descriptor const> entries) {
        std::optional<folder_lock> lock;
        detail::created_paths created; // goes before the lock does
        lock.emplace(make_and_lock(created));
        bool const exists = check_folder(); // again: this time nobody can interfere
        require_relied();
        auto const index = path_ + "/index.json";
        std::optional<std::string> existing;
        if (detail::file_facts(index)) existing = read_file(index, max_document_size);
        auto const text = merge_layout_index(existing, entries, index);

        // First of all, for it makes the directory a layout in the eyes of others.
        if (auto const header = path_ + "/oci-layout"; !exists) {
            write_file(header, layout_header);
            created.add(header);
        }
        std::vector<std::string> touched; // directories that hold new names, a handful
        auto const touch = [&](std::string const& folder) {
            if (std::find(touched.begin(), touched.end(), folder) == touched.end()) touched.push_back(folder);
        };
        auto blobs = pending_.take();
        for (auto& [which, file] : blobs) file.start_writing();
        for (auto& [which, file] : blobs) file.settle(blob_path(which), 0644);
        for (auto& [which, file] : blobs) {
            auto const path = blob_path(which);
            auto const folder = detail::parent_of(path);
            detail::make_folders(folder, created);
            bool const replaced = detail::file_facts(path).has_value();
            file.name(path);
            if (!replaced) created.add(path);
            touch(folder);
        }
        for (auto const& path : created.paths()) touch(detail::parent_of(path));
        for (auto const& folder : touched) detail::sync_directory(folder);

        bool const changed = existing != text;
        if (changed) write_file(index, text);
        created.keep();
        if (changed) detail::sync_directory(path_);
    }

  private:
    struct relied_blobs {
        std::mutex mutex;
        std::set<digest> blobs;
        std::vector<file_reader> leases;
    };
    static constexpr std::size_t max_leases = 256;

    /// Nothing if the blob was removed meanwhile.
    [[nodiscard]] std::optional<file_reader> lease(digest const& which) const {
        try {
            file_reader blob{blob_path(which)};
            if (detail::lease_blob(blob)) return blob;
        } catch (system_error const& failure) {
            if (failure.number() != ENOENT) throw;
        }
        return std::nullopt;
    }

    static std::string without_slashes(std::string path) {
        while (path.size() > 1 && path.ends_with('/')) path.pop_back();
        return path;
    }

    static std::uint64_t size_of(file_reader const& file) {
        struct ::stat facts {};
        if (::fstat(file.descriptor(), &facts) != 0) throw system_error{"read", file.path(), errno};
        return static_cast<std::uint64_t>(facts.st_size);
    }

    [[nodiscard]] std::string blob_path(digest const& which) const {
        return path_ + "/blobs/" + std::string{which.algorithm()} + "/" + std::string{which.encoded()};
    }

    // Whether there is a layout; false if there is nothing or an empty directory. Throws for anything else.
    [[nodiscard]] bool check_folder() const {
        auto const facts = detail::file_facts(path_);
        if (!facts) return false;
        if (!S_ISDIR(facts->st_mode)) throw system_error{"open layout", path_, ENOTDIR};
        // In this order, because publish() makes oci-layout before all else.
        bool const empty = holds_nothing();
        auto const header = path_ + "/oci-layout";
        if (detail::file_facts(header)) {
            check_layout_header(read_file(header, max_document_size), header);
            return true;
        }
        if (!empty) throw format_error{"open layout", path_, "is not an OCI image layout and not empty"};
        return false;
    }

    [[nodiscard]] bool holds_nothing() const {
        std::error_code failure;
        for (std::filesystem::directory_iterator entry{path_, failure}, end; !failure && entry != end;
             entry.increment(failure))
            // Other exports may have staged files where the file system knows no files without a name.
            if (!entry->path().filename().string().starts_with(".shiplap-")) return false;
        if (failure) throw system_error{"read directory", path_, failure.value()};
        return true;
    }

    [[nodiscard]] folder_lock make_and_lock(detail::created_paths& created) const {
        for (unsigned attempt = 0;; ++attempt) {
            try {
                detail::make_folders(path_, created);
                return folder_lock{path_};
            } catch (system_error const& failure) {
                // Another export may have failed just now, and removed the directory that it had made.
                if (failure.number() != ENOENT || attempt == 100) throw;
            }
        }
    }

    void require_relied() const {
        std::lock_guard const lock{relied_->mutex};
        for (auto const& which : relied_->blobs)
            if (!contains(which))
                throw error{error_code::not_found, "write layout", path_,
                            "blob " + which.text() + " was removed while the image was exported"};
    }

    std::string path_;
    scratch_store pending_;
    std::unique_ptr<relied_blobs> relied_ = std::make_unique<relied_blobs>();
};

} // namespace shiplap
