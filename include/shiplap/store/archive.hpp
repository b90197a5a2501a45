#pragma once
// archive: the members of a tar file by name, without unpacking it. What oci_archive_store and
// docker_archive_store stand on.
//
// The headers are read once and remembered; payloads are read in place when they are asked for, any number of
// times and on any number of threads. An archive that is compressed (`docker save app | gzip`) or that cannot
// be read twice (a pipe) is first unpacked into a file without a name in the folder for temporary files.
//
// Names are looked up, never opened: "./a//b" and "a/b" are one name, members may come in any order, links
// lead to other members of the same archive or nowhere. A name or link that leaves the archive is an
// error{unsafe_entry}; so are, as format_error, two members of one name (when that is asked for) and an
// archive that ends early.

#include <shiplap/bytes/erased.hpp>
#include <shiplap/bytes/file.hpp>
#include <shiplap/codec/decode.hpp>
#include <shiplap/digest/digest.hpp>
#include <shiplap/error.hpp>
#include <shiplap/image/json.hpp>
#include <shiplap/store/file_window.hpp>
#include <shiplap/tar/scanner.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace shiplap {

namespace detail {

/// `name`, seen from `folder`, as the plain path "a/b"; none if it leads out of the archive.
inline std::optional<std::string> path_inside(std::string_view folder, std::string_view name) {
    if (name.starts_with('/')) return {};
    std::string path{folder};
    while (!name.empty()) {
        auto const slash = std::min(name.find('/'), name.size());
        auto const part = name.substr(0, slash);
        name.remove_prefix(std::min(slash + 1, name.size()));
        if (part.empty() || part == ".") continue;
        if (part != "..") {
            if (!path.empty()) path += '/';
            path += part;
            continue;
        }
        if (path.empty()) return {};
        auto const up = path.rfind('/');
        path.resize(up == path.npos ? 0 : up);
    }
    return path;
}

/// Where an image layout keeps a blob (image-spec, image-layout.md, "Blobs").
inline std::string blob_member(digest const& which) {
    return "blobs/" + std::string{which.algorithm()} + "/" + std::string{which.encoded()};
}

} // namespace detail

/// See the top of this header.
class archive_files {
  public:
    /// Members of an archive at most.
    static constexpr std::uint64_t max_members = 100'000;
    /// Links that lead to links at most.
    static constexpr unsigned max_links = 16;

    /// Opens `path`, "-" is standard input, and reads all headers. Throws system_error, format_error.
    explicit archive_files(std::string path) : path_{std::move(path)}, file_{open_twice_readable()} {
        read_headers();
    }

    /// Is there a regular file of this name?
    [[nodiscard]] bool contains(std::string_view name) const { return find(name) != nullptr; }

    /// The payload of a regular file. Throws error{not_found}.
    [[nodiscard]] file_window open(std::string_view name) const {
        auto const* const found = find(name);
        if (!found)
            throw error{error_code::not_found, "read archive", path_,
                        "it has no file '" + printable(name) + "'"};
        return {file_, found->offset, found->size};
    }

    /// A whole small file; more than `limit` bytes are a format_error.
    [[nodiscard]] std::string text(std::string_view name, std::uint64_t limit = max_document_size) const {
        auto window = open(name);
        if (window.size() > limit)
            throw format_error{"read archive", path_,
                               "its file '" + printable(name) + "' has " + std::to_string(window.size()) +
                                   " bytes, at most " + std::to_string(limit) + " are read"};
        string_sink out;
        transfer(window, out);
        return std::move(out.text);
    }

    [[nodiscard]] std::string const& path() const noexcept { return path_; }

  private:
    struct member {
        entry_type type;
        std::uint64_t offset, size; // of the payload
        std::string target;         // of a link: a path inside, or as it stands if that leads out
        bool inside = true;         // does it?
        bool repeated = false;
    };

    [[nodiscard]] std::shared_ptr<file_reader const> open_twice_readable() const {
        if (path_ == "-") return unpacked(stream_reader{STDIN_FILENO, "standard input"});
        auto file = std::make_shared<file_reader const>(path_);
        struct ::stat facts {};
        if (::fstat(file->descriptor(), &facts) != 0) throw system_error{"read", path_, errno};
        if (S_ISDIR(facts.st_mode)) throw system_error{"read", path_, EISDIR};
        if (!S_ISREG(facts.st_mode)) return unpacked(stream_reader{file->descriptor(), path_});
        std::array<std::byte, 16> head{};
        auto const n = detail::read_at(*file, 0, head);
        auto const start = bytes_view{head}.first(n);
        if (sniff_encoding(start).empty() && detail::foreign_format(start).empty()) return file;
        return unpacked(stream_reader{file->descriptor(), path_});
    }

    [[nodiscard]] std::shared_ptr<file_reader const> unpacked(stream_reader from) const {
        try {
            staged_file plain{std::filesystem::temp_directory_path().string(), staging::scratch};
            auto source = decode_any(any_byte_source{std::move(from)});
            transfer(source, plain);
            return std::make_shared<file_reader const>(plain.reader());
        } catch (error& failure) {
            failure.within("archive '" + printable(path_) + "'");
            throw;
        }
    }

    // The scanner wants to see every byte but does not look at payloads: it is given zeros in their place.
    void read_headers() {
        struct ::stat facts {};
        if (::fstat(file_->descriptor(), &facts) != 0) throw system_error{"read", path_, errno};
        auto const file_size = static_cast<std::uint64_t>(facts.st_size);

        tar_scanner scanner{path_, {.max_entries = max_members}};
        std::string const zeros(transfer_size, '\0');
        std::array<std::byte, tar_block_size> block{};
        for (;;) {
            auto const n = detail::read_at(*file_, scanner.offset(), block);
            if (n == 0) break;
            auto in = bytes_view{block}.first(n);
            auto const what = scanner.next(in);
            if (what == tar_scanner::event::end) return;
            if (what != tar_scanner::event::entry) continue;
            add(scanner.entry(), scanner.offset());
            auto rest = scanner.entry().size + tar_padding(scanner.entry().size);
            if (rest > file_size - std::min(file_size, scanner.offset()))
                throw format_error{"read archive", path_,
                                   "truncated: has " + std::to_string(file_size) + " bytes, its file '" +
                                       printable(scanner.entry().name) + "' would end at offset " +
                                       std::to_string(scanner.offset() + rest)};
            while (rest != 0) {
                auto skipped = as_bytes(zeros).first(
                    static_cast<std::size_t>(std::min<std::uint64_t>(rest, zeros.size())));
                rest -= skipped.size();
                while (!skipped.empty()) scanner.next(skipped);
            }
        }
        scanner.finish();
    }

    void add(tar_entry const& entry, std::uint64_t offset) {
        auto name = detail::path_inside("", entry.name);
        if (!name) refuse("its member '" + printable(entry.name) + "' lies outside of it");
        member found{entry.type, offset, entry.size, entry.link_name};
        if (!entry.link_name.empty()) {
            auto const slash = name->rfind('/');
            bool const relative = entry.type == entry_type::symbolic_link && slash != name->npos;
            auto target = detail::path_inside(relative ? std::string_view{*name}.substr(0, slash) : "",
                                              entry.link_name);
            found.inside = target.has_value();
            if (target) found.target = std::move(*target);
        }
        auto const [there, added] = members_.try_emplace(std::move(*name), found);
        bool const both_folders =
            there->second.type == entry_type::directory && entry.type == entry_type::directory;
        if (!added && !both_folders) there->second.repeated = true;
    }

    [[nodiscard]] member const* find(std::string_view name) const {
        auto path = detail::path_inside("", name);
        if (!path) refuse("the file '" + printable(name) + "' lies outside of it");
        for (unsigned links = 0; links <= max_links; ++links) {
            auto const found = members_.find(*path);
            if (found == members_.end()) return nullptr;
            auto const& what = found->second;
            if (what.repeated)
                throw format_error{"read archive", path_,
                                   "it has several members called '" + printable(*path) + "'"};
            if (what.type == entry_type::regular) return &what;
            if (what.target.empty()) return nullptr;
            if (!what.inside)
                refuse("its link '" + printable(*path) + "' to '" + printable(what.target) +
                       "' leads out of it");
            path = what.target;
        }
        throw format_error{"read archive", path_,
                           "'" + printable(name) + "' is a chain of more than " + std::to_string(max_links) +
                               " links"};
    }

    [[noreturn]] void refuse(std::string const& reason) const {
        throw error{error_code::unsafe_entry, "read archive", path_, reason};
    }

    std::string path_;
    std::shared_ptr<file_reader const> file_;
    std::map<std::string, member, std::less<>> members_;
};

} // namespace shiplap
