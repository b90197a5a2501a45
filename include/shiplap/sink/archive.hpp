#pragma once
// archive: what the OCI and the docker archive share: an image layout as one tar, written as a stream.
//
//     blobs/  blobs/sha256/  blobs/sha256/<hex> ...  index.json  [manifest.json]  oci-layout
//
// Members are sorted by name, owned by 0:0 and dated 1970, in plain ustar (sha512 blobs have names that need
// PAX): the bytes follow from the image and its names alone. So blobs arrive in the order that arrange()
// gives and go straight to their place; nothing is kept in memory but digests. (image-spec, image-layout.md;
// the member order is that of BuildKit's `oci` and `docker` exporters.)
//
// An archive_output is either a file, which appears whole at commit() and not before, or an open stream.

#include <shiplap/bytes/file.hpp>
#include <shiplap/error.hpp>
#include <shiplap/image/index.hpp>
#include <shiplap/image/json.hpp>
#include <shiplap/sink/concept.hpp>
#include <shiplap/store/layout_index.hpp>
#include <shiplap/tar/writer.hpp>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <sys/stat.h>
#include <unistd.h>

namespace shiplap {

/// Where an archive goes. A byte_sink.
class archive_output {
  public:
    /// A file that replaces `path` at commit(); "-" is standard output, and a device or pipe is written
    /// directly. Throws system_error at once if `path` is a directory or its folder is missing or not
    /// writable.
    explicit archive_output(std::string path) : path_{std::move(path)} {
        if (path_ == "-") {
            path_ = "standard output";
            stream_ = STDOUT_FILENO;
            return;
        }
        struct ::stat facts {};
        bool const found = ::stat(path_.c_str(), &facts) == 0;
        if (found && S_ISDIR(facts.st_mode)) throw system_error{"write", path_, EISDIR};
        if (found && !S_ISREG(facts.st_mode)) { // renaming a file onto /dev/null would remove the device
            owned_ = detail::open_file(path_, O_WRONLY);
            stream_ = owned_.get();
            return;
        }
        // Through a symbolic link to the file that it names, as `> path` would.
        if (found && std::filesystem::is_symlink(path_)) path_ = std::filesystem::canonical(path_).string();
        restart();
    }
    /// A stream that stays open, such as standard output; `name` is for messages.
    archive_output(int stream, std::string name) : path_{std::move(name)}, stream_{stream} {}

    void write(bytes_view in) {
        if (!staged_) return detail::write_fully(stream_, in, path_);
        try {
            staged_->write(in);
        } catch (system_error const& refused) { // it knows only its folder
            throw system_error{"write", path_, refused.number()};
        }
    }

    /// Drops what was written. A stream cannot: returns false.
    bool restart() {
        if (stream_ >= 0) return false;
        staged_.emplace(detail::parent_of(path_));
        return true;
    }

    /// Publishes the file.
    void commit() {
        if (!staged_) return;
        staged_->publish(path_, 0644);
        detail::sync_directory(detail::parent_of(path_));
    }

    [[nodiscard]] std::string const& path() const noexcept { return path_; }
    /// A folder for what has to lie somewhere until it is written here: on the same file system where it can
    /// be.
    [[nodiscard]] std::string staging_folder() const {
        return stream_ >= 0 ? std::filesystem::temp_directory_path().string() : detail::parent_of(path_);
    }

  private:
    std::string path_;
    unique_fd owned_;
    int stream_ = -1; // or none
    std::optional<staged_file> staged_;
};

/// The common part of both archive sinks: all of an arranging_sink but commit().
class layout_archive {
  public:
    /// See archive_output.
    explicit layout_archive(std::string path) : layout_archive{archive_output{std::move(path)}} {}
    explicit layout_archive(archive_output output)
        : output_{std::make_unique<archive_output>(std::move(output))} {}

    /// Starts an archive that holds this image: its contents in the order of their names in the archive, each
    /// once.
    [[nodiscard]] std::vector<descriptor> arrange(image_graph const& graph) {
        if (started_) restart();
        std::map<digest, descriptor> sorted;
        for (auto const& node : graph.contents) sorted.try_emplace(node.what.digest, node.what);
        std::vector<descriptor> order;
        order.reserve(sorted.size());
        for (auto& [name, what] : sorted) order.push_back(std::move(what));
        return order;
    }

    [[nodiscard]] bool exists(descriptor const& what) const { return written_.contains(what.digest); }

    /// Takes the next blob; one that is there already is not read again. Throws error{unsupported} if it is
    /// not in the order of arrange().
    void put(descriptor const& what, replayable_source_ref from) {
        if (exists(what)) return;
        require_whole();
        bool const first = written_.empty();
        if (!first && what.digest < *written_.rbegin())
            throw error{error_code::unsupported, "write archive", output_->path(),
                        "blobs must come sorted by digest, " + what.digest.text() + " comes too late"};
        broken_ = true;
        if (first) member("blobs/", 0, 0755);
        if (first || written_.rbegin()->algorithm() != what.digest.algorithm())
            member("blobs/" + std::string{what.digest.algorithm()} + "/", 0, 0755);
        member(blob_path(what.digest), what.size, 0444);
        transfer(from, tar_);
        broken_ = false;
        written_.insert(what.digest);
    }

    /// An entry of index.json, which has what the descriptor says beyond the names.
    void tag(descriptor const& root, image_name const& name) {
        if (!exists(root))
            throw error{error_code::not_found, "name image", root.digest.text(),
                        "it was not put into archive '" + printable(output_->path()) + "'"};
        auto entry = named_entry(root, name);
        if (std::find(entries_.begin(), entries_.end(), entry) == entries_.end())
            entries_.push_back(std::move(entry));
    }

    /// See archive_output.
    [[nodiscard]] std::string staging_folder() const { return output_->staging_folder(); }

  protected:
    static std::string blob_path(digest const& which) {
        return "blobs/" + std::string{which.algorithm()} + "/" + std::string{which.encoded()};
    }

    /// Writes what follows the blobs and publishes. The sink can then take a new image.
    void complete(std::optional<std::string> const& docker_manifest) {
        require_whole();
        if (entries_.empty())
            throw error{error_code::not_found, "write archive", output_->path(), "it holds no tagged image"};
        // An OCI index, whatever the family of the image.
        image_index const index{.media_type = std::string{oci_media_types::index}, .manifests = entries_};
        file("index.json", compact(to_json(index)), 0644);
        if (docker_manifest) file("manifest.json", *docker_manifest, 0644);
        file("oci-layout", layout_header, 0444);
        tar_.finish();
        output_->commit();
    }

  private:
    void require_whole() const {
        if (broken_)
            throw error{error_code::unsupported, "write archive", output_->path(),
                        "a blob before this failed halfway"};
    }

    void member(std::string name, std::uint64_t size, std::uint32_t mode) {
        tar_entry entry;
        entry.name = std::move(name);
        if (entry.name.back() == '/') entry.type = entry_type::directory;
        entry.size = size;
        entry.mode = mode;
        started_ = true;
        tar_.entry(entry);
    }

    void file(std::string name, std::string_view text, std::uint32_t mode) {
        member(std::move(name), text.size(), mode);
        tar_.write(as_bytes(text));
    }

    void restart() {
        if (!output_->restart())
            throw error{error_code::unsupported, "write", output_->path(), "holds an archive already"};
        tar_ = tar_writer{*output_};
        written_.clear();
        entries_.clear();
        started_ = broken_ = false;
    }

    std::unique_ptr<archive_output> output_; // tar_ refers to it
    tar_writer<archive_output> tar_{*output_};
    std::set<digest> written_;
    std::vector<descriptor> entries_; // of index.json
    bool started_ = false;            // something was written
    bool broken_ = false;             // the last blob failed on its way
};

} // namespace shiplap
