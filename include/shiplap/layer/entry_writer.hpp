#pragma once
// Writes source files as tar entries, header and content: what all layer sources that read trees share. The
// first name of an inode with several becomes a regular entry, every later one a hard link to it: no content
// is stored twice. As in the original this holds for all but directories: a hard-linked symbolic link or
// device is a link entry as well.

#include <shiplap/layer/concept.hpp>
#include <shiplap/layer/header.hpp>
#include <shiplap/layer/source_file.hpp>
#include <shiplap/tar/writer.hpp>

#include <map>
#include <memory>

namespace shiplap::detail {

/// What identifies a file that has several names.
using inode_key = std::pair<::dev_t, ::ino_t>;
/// Of files with several names, the first that was met.
using names_by_inode = std::map<inode_key, std::string>;

inline bool has_other_names(tree_item const& item) noexcept {
    return !item.is_directory() && item.facts.st_nlink > 1;
}
inline inode_key inode_of(tree_item const& item) noexcept {
    return {item.facts.st_dev, item.facts.st_ino};
}

inline constexpr std::uint64_t end_of_archive_size = 2 * tar_block_size;

/// Bytes that an entry takes, extended headers not counted; content counts for the first name of a file
/// alone.
inline std::uint64_t size_in_tar(tree_item const& item, bool first_name) noexcept {
    auto const content = item.is_regular() && first_name ? static_cast<std::uint64_t>(item.facts.st_size) : 0;
    return tar_block_size + content + tar_padding(content);
}

template <byte_sink Out>
class entry_writer {
  public:
    entry_writer(Out& out, layer_context const& context, header_policies policies, tree_walker const& tree)
        : tar_{out}, context_{context}, policies_{policies}, tree_{tree} {}

    /// Writes one entry, content included, and returns its header; nothing is written for a socket.
    std::optional<tar_entry> put(tree_item const& item) {
        auto const label = tree_.label(item.path);
        auto const type = entry_type_of(item.facts.st_mode);
        if (!type) {
            context_.progress.warn("'" + printable(label.text()) +
                                   "' is a socket, which a layer cannot hold: left out");
            return std::nullopt;
        }
        auto entry = make_header(item, *type, policies_.owners, context_.time, label);
        if (has_other_names(item)) {
            auto const [first, is_first] = first_names_.try_emplace(inode_of(item), item.path);
            if (!is_first) turn_into_link(entry, first->second);
        }
        if (entry.size == 0) {
            entry.xattrs = read_attributes(attribute_place::of(item), policies_.xattrs, label);
            tar_.entry(entry);
            return entry;
        }
        source_file content{item, label};
        entry.xattrs =
            read_attributes(attribute_place::of_open(content.descriptor()), policies_.xattrs, label);
        tar_.entry(entry);
        tar_.payload(content, {buffer_.get(), transfer_size});
        return entry;
    }

    /// Another name for an entry that put() returned.
    void put_link(tar_entry entry, std::string name) {
        auto const first = std::exchange(entry.name, std::move(name));
        turn_into_link(entry, first);
        tar_.entry(entry);
    }

    void put_whiteout(std::string_view path) { tar_.entry(whiteout_entry(path)); }

    /// True if a name of this file was written, so that a further one is a link to it.
    [[nodiscard]] bool knows(tree_item const& item) const {
        return has_other_names(item) && first_names_.contains(inode_of(item));
    }

    /// The end of the archive: two blocks of zeros and no further padding.
    void finish() { tar_.finish(); }

  private:
    static void turn_into_link(tar_entry& entry, std::string const& first) {
        entry.type = entry_type::hard_link;
        entry.link_name = first;
        entry.size = 0;
    }

    tar_writer<Out> tar_;
    layer_context const& context_;
    header_policies policies_;
    tree_walker const& tree_;
    names_by_inode first_names_;
    std::unique_ptr<std::byte[]> buffer_ = std::make_unique_for_overwrite<std::byte[]>(transfer_size);
};

} // namespace shiplap::detail
