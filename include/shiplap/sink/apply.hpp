#pragma once
// layer_applier: applies layer tars to a root directory, bottom layer first (image-spec, layer.md, "Applying
// Changesets").
//
//     layer_applier rootfs{root_directory{...}};
//     rootfs.apply(tar_of_the_bottom_layer, "layer 1");
//     rootfs.apply(tar_of_the_next_layer, "layer 2");
//
// Nothing outside the root is touched, whatever the archive says; an entry that would need that is an
// error{unsafe_entry}, and every error names its entry.
//
//   entry              meets               result
//   directory          a directory         it keeps its children, its metadata is replaced
//   any                anything else       what is there goes, with all below it; links are not followed
//   any                a missing parent    the parent is made: mode 0755, time 0, owned by the process
//   hard link          its target          linked, not followed, inside the root; it must be there
//   .wh.x              x of lower layers   removed, but for what this layer brings at or below x, be it
//                                          before the whiteout or after it
//   .wh..wh..opq       its siblings        the same for each of them
//   .wh..wh.*                              AUFS' own: ignored, with what lies below it
//
// A directory that a layer changes without an entry of its own keeps its time. An exception leaves the tree
// half done and directories with too wide modes: throw it away then.

#include <shiplap/bytes/erased.hpp>
#include <shiplap/sink/extraction.hpp>
#include <shiplap/tar/reader.hpp>
#include <shiplap/tar/whiteout.hpp>

#include <algorithm>
#include <cstring>
#include <set>
#include <string>
#include <utility>

#include <sys/sysmacros.h>

namespace shiplap {

class layer_applier {
  public:
    explicit layer_applier(root_directory root, extraction_options options = {})
        : root_{std::move(root)}, options_{options}, metadata_{options_} {}

    /// Applies one uncompressed tar and reads it to its end. `subject` names the layer in messages. Throws
    /// error{unsafe_entry}, format_error, system_error.
    void apply(byte_source_ref tar, std::string const& subject) {
        changes_ = detail::layer_changes{root_};
        tar_entries archive{tar, subject, options_.limits.tar};
        std::string name;
        try {
            while (auto const* entry = archive.next()) {
                name = entry->name;
                extract(*entry, archive);
                name.clear();
            }
            changes_.settle(root_);
        } catch (error& problem) {
            if (!name.empty() && problem.subject() != name)
                problem.within("extract '" + printable(name) + "'");
            if (problem.subject() != subject) problem.within(subject);
            throw;
        }
    }

    [[nodiscard]] root_directory const& root() const noexcept { return root_; }

  private:
    using tar_entries = tar_reader<byte_source_ref>;

    /// An entry on its way to its place.
    struct arrival {
        tar_entry const& entry;
        entry_path where;
        unique_fd parent; // of the directory it goes to

        [[nodiscard]] char const* name() const noexcept { return where.base(); }
        [[nodiscard]] error unsafe(std::string reason) const {
            return {error_code::unsafe_entry, "extract", entry.name, std::move(reason)};
        }
        [[noreturn]] void fail() const { throw system_error{"extract", entry.name, errno}; }
    };

    void extract(tar_entry const& entry, tar_entries& payload) {
        arrival item{entry, entry_path::parse(entry.name), {}};
        if (item.where.is_root()) return extract_root(item);
        switch (classify_whiteout(entry.name).kind) {
        case whiteout_kind::none:
            break;
        case whiteout_kind::ignored:
            return;
        case whiteout_kind::removal:
            return remove_lower(item, item.name() + whiteout_prefix.size());
        case whiteout_kind::opaque:
            return remove_lower(item, nullptr);
        }
        open_parent(item);
        switch (entry.type) {
        case entry_type::directory:
            return extract_directory(item);
        case entry_type::regular:
            return extract_file(item, payload);
        case entry_type::hard_link:
            return extract_hard_link(item);
        case entry_type::symbolic_link:
            return extract_symbolic_link(item);
        case entry_type::fifo:
            return extract_node(item, S_IFIFO);
        case entry_type::character_device:
            return extract_device(item, S_IFCHR);
        case entry_type::block_device:
            return extract_device(item, S_IFBLK);
        }
    }

    void extract_root(arrival const& item) {
        if (item.entry.type != entry_type::directory)
            throw item.unsafe("names the root, which can only be a directory");
        auto const fd = detail::open_directory(root_.descriptor(), item.entry.name);
        complete_directory(item, fd.get(), false);
    }

    void extract_directory(arrival const& item) {
        auto const make_it = [&] { return ::mkdirat(item.parent.get(), item.name(), 0700) == 0; };
        bool is_new = make_it();
        if (!is_new && errno != EEXIST) item.fail();
        if (!is_new) {
            auto const facts = detail::stat_name(item.parent.get(), item.name(), item.entry.name);
            if (!S_ISDIR(facts.st_mode)) {
                make_room(item);
                is_new = make_it();
                if (!is_new) item.fail();
            } else if (changes_.remember(facts, item.where.text()) && detail::needs_access(facts.st_mode)) {
                detail::set_mode_at(item.parent.get(), item.name(), (facts.st_mode & 07777) | S_IRWXU,
                                    item.entry.name);
            }
        }
        unique_fd const fd{
            ::openat(item.parent.get(), item.name(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
        if (!fd) item.fail();
        complete_directory(item, fd.get(), is_new);
        note_added(item);
    }

    void complete_directory(arrival const& item, int fd, bool is_new) {
        auto const facts = detail::stat_open(fd, item.entry.name);
        metadata_.begin_directory(fd, item.entry, is_new);
        changes_.set(file_identity{facts}, {item.where.text(), item.entry.mode & 07777, item.entry.mtime});
    }

    void extract_file(arrival const& item, tar_entries& payload) {
        unique_fd file;
        make(item, [&] {
            file = unique_fd{::openat(item.parent.get(), item.name(),
                                      O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600)};
            return file ? 0 : -1;
        });
        write_payload(file.get(), item.entry, payload);
        metadata_.finish_file(file.get(), item.entry);
    }

    // Stretches of zeros become holes.
    void write_payload(int fd, tar_entry const& entry, tar_entries& payload) {
        buffer_.resize(transfer_size);
        bytes_span const space{reinterpret_cast<std::byte*>(buffer_.data()), buffer_.size()};
        bool ends_in_hole = false;
        while (auto const n = read_fully(payload, space)) {
            bytes_view const piece{space.first(n)};
            ends_in_hole =
                piece[0] == std::byte{0} && std::memcmp(piece.data(), piece.data() + 1, n - 1) == 0;
            if (!ends_in_hole)
                detail::write_fully(fd, piece, entry.name);
            else if (::lseek(fd, static_cast<::off_t>(n), SEEK_CUR) < 0)
                throw system_error{"write", entry.name, errno};
        }
        if (ends_in_hole && ::ftruncate(fd, static_cast<::off_t>(entry.size)) != 0)
            throw system_error{"write", entry.name, errno};
    }

    void extract_hard_link(arrival const& item) {
        auto const refuse = [&](std::string const& reason) {
            throw item.unsafe("its hard link target '" + printable(item.entry.link_name) + "' " + reason);
        };
        entry_path target;
        try {
            target = entry_path::parse(item.entry.link_name);
        } catch (error const& problem) {
            refuse("is refused: " + problem.reason());
        }
        if (target.is_root()) refuse("is the root");
        auto const folder = root_.find_directory(target.parent());
        struct ::stat facts {};
        if (!folder || ::fstatat(folder.get(), target.base(), &facts, AT_SYMLINK_NOFOLLOW) != 0) {
            if (!skipped_.contains(target.text())) refuse("is not in the image");
            return skip_device(item);
        }
        if (S_ISDIR(facts.st_mode)) refuse("is a directory");
        struct ::stat present {};
        bool const is_there = ::fstatat(item.parent.get(), item.name(), &present, AT_SYMLINK_NOFOLLOW) == 0 &&
                              file_identity{present} == file_identity{facts};
        if (is_there) return note_added(item);
        make(item, [&] { return ::linkat(folder.get(), target.base(), item.parent.get(), item.name(), 0); });
    }

    void extract_symbolic_link(arrival const& item) {
        auto const& target = item.entry.link_name;
        if (target.empty() || target.find('\0') != target.npos)
            throw item.unsafe("a symbolic link needs a target without NUL bytes");
        make(item, [&] { return ::symlinkat(target.c_str(), item.parent.get(), item.name()); });
        metadata_.finish_special(item.parent.get(), item.name(), item.entry);
    }

    void extract_device(arrival const& item, ::mode_t type) {
        switch (options_.devices) {
        case device_policy::create:
            return extract_node(item, type);
        case device_policy::refuse:
            throw item.unsafe("is a device node");
        case device_policy::skip:
            return skip_device(item);
        }
    }

    void skip_device(arrival const& item) {
        make_room(item);
        skipped_.insert(item.where.text());
        metadata_.warn("extract '" + printable(item.entry.name) + "': device nodes are left out");
    }

    void extract_node(arrival const& item, ::mode_t type) {
        auto const device =
            type == S_IFIFO ? ::dev_t{} : ::makedev(item.entry.device_major, item.entry.device_minor);
        make(item, [&] { return ::mknodat(item.parent.get(), item.name(), type | 0600, device); });
        metadata_.finish_special(item.parent.get(), item.name(), item.entry);
    }

    /// Runs a system call that makes the name of `item`; what has it already is removed first.
    template <class Call>
    void make(arrival const& item, Call call) {
        if (call() != 0) {
            if (errno != EEXIST) item.fail();
            make_room(item);
            if (call() != 0) item.fail();
        }
        note_added(item);
    }

    void make_room(arrival const& item) {
        changes_.remove(item.parent.get(), item.name(), std::string{item.where.parent()});
    }

    /// Removes what lower layers have: `name` beside the whiteout, or all there is for an opaque marker.
    void remove_lower(arrival const& whiteout, char const* name) {
        if (!changes_.has_lower()) return;
        std::string const path{whiteout.where.parent()};
        auto const folder = root_.find_directory(path);
        if (!folder && (errno == ENOENT || errno == ENOTDIR)) return; // nothing there to remove
        if (!folder) throw_unreachable(whiteout, errno);
        changes_.touch(folder.get(), path);
        if (name == nullptr)
            changes_.empty_lower(folder.get(), path);
        else
            changes_.remove_lower(folder.get(), name, path);
    }

    void open_parent(arrival& item) {
        auto const before = [&](int folder, std::string_view path) {
            changes_.touch(folder, std::string{path});
        };
        auto const made = [&](int folder, int fd, std::string_view path) {
            changes_.set(file_identity{detail::stat_open(fd, item.entry.name)},
                         {std::string{path}, 0755, {}});
            changes_.add(folder, path.substr(path.rfind('/') + 1)); // all of it if there is no '/'
        };
        item.parent = root_.make_directories(item.where.parent(), before, made);
        if (!item.parent) throw_unreachable(item, errno);
        before(item.parent.get(), item.where.parent());
    }

    void note_added(arrival const& item) { changes_.add(item.parent.get(), item.name()); }

    [[noreturn]] static void throw_unreachable(arrival const& item, int number) {
        auto const parent = "its parent directory '" + printable(item.where.parent()) + "' ";
        if (number == ENOENT)
            throw item.unsafe(parent + "is a symbolic link that leads nowhere inside the root");
        if (number == ENOTDIR) throw item.unsafe(parent + "is not a directory");
        if (number == ELOOP) throw item.unsafe(parent + "leads through too many symbolic links");
        throw system_error{"extract", item.entry.name, number};
    }

    root_directory root_;
    extraction_options options_;
    detail::metadata_writer metadata_;
    detail::layer_changes changes_;
    std::string buffer_;
    std::set<std::string> skipped_; // paths of device nodes that were left out
};

} // namespace shiplap
