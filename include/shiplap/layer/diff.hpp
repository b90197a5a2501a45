#pragma once
// diff_layer: the difference of two trees becomes a layer. What `upper` has and `lower` has not, or has
// differently, is an entry; what only `lower` has is a whiteout, one for a whole directory (image-spec,
// layer.md, "Whiteouts"). Applied on top of `lower` the layer gives `upper`.
//
//     diff_layer{.lower = "before", .upper = "after"}
//
// Both trees are walked side by side, in one order; nothing is kept of them but the directories that were
// written and the files with several names. The rules are those of BuildKit's walking differ, byte for byte:
//
//   parents      the directories above an entry are written once, before it, even if nothing about them
//   changed order        that of a walk; a deletion stands where the deleted name stood hard links   an
//   unchanged name of an inode is written too, as a link, once a changed name of it is opaque       no opaque
//   markers: deletions are always named one by one

#include <shiplap/layer/compare.hpp>
#include <shiplap/layer/entry_writer.hpp>

#include <set>

namespace shiplap {

namespace detail {

/// Walks two trees and tells `changes` what happened to each path, in walk order: removed(item of lower),
/// written(item of upper), or unmodified(item of upper). Nothing is told of what lies below a removed
/// directory, or below one that is no directory any more.
template <class Changes>
void compare_trees(tree_walker& lower, tree_walker& upper, file_comparison const& files, Changes& changes) {
    auto const* before = lower.next();
    auto const* after = upper.next();
    while (before != nullptr || after != nullptr) {
        auto const order = before == nullptr  ? 1
                           : after == nullptr ? -1
                                              : compare_walk_order(before->path, after->path);
        if (order < 0) {
            changes.removed(*before);
            lower.skip_children();
        } else if (order > 0) {
            changes.written(*after);
        } else {
            if (files.same(*before, *after))
                changes.unmodified(*after);
            else
                changes.written(*after);
            if (!after->is_directory()) lower.skip_children();
        }
        if (order <= 0) before = lower.next();
        if (order >= 0) after = upper.next();
    }
}

/// Writes changes as entries.
template <byte_sink Out>
class change_writer {
  public:
    change_writer(entry_writer<Out>& entries, tree_walker const& upper) : entries_{entries}, upper_{upper} {}

    void removed(tree_item const& item) {
        put_parents(item.path);
        entries_.put_whiteout(item.path);
    }

    void written(tree_item const& item) {
        // A socket leaves no entry: the directories above it must not get one for its sake.
        if (entry_type_of(item.facts.st_mode)) put_parents(item.path);
        auto const entry = entries_.put(item);
        if (item.is_directory()) written_.insert(item.path);
        if (!entry || !has_other_names(item)) return;
        auto const names = unchanged_names_.extract(inode_of(item));
        if (names.empty()) return;
        for (auto const& name : names.mapped()) {
            put_parents(name);
            entries_.put_link(*entry, name);
        }
    }

    void unmodified(tree_item const& item) {
        if (!has_other_names(item)) return;
        if (entries_.knows(item))
            written(item);
        else
            unchanged_names_[inode_of(item)].push_back(item.path);
    }

  private:
    // The directories above `path` that have no entry yet, topmost first.
    void put_parents(std::string_view path) {
        auto const end = path.rfind('/');
        if (end == std::string_view::npos || written_.contains(std::string{path.substr(0, end)})) return;
        tree_item folder{};
        unique_fd holder, below;
        folder.folder = upper_.root();
        for (std::size_t from = 0; from < end;) {
            auto const to = path.find('/', from);
            folder.path = path.substr(0, to);
            folder.name_at = from;
            auto const label = upper_.label(folder.path);
            below = unique_fd{
                ::openat(folder.folder, folder.name(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
            if (!below) throw system_error{"read directory", label.text(), errno};
            folder.facts = stat_open(below.get(), label);
            if (written_.insert(folder.path).second) entries_.put(folder);
            std::swap(holder, below);
            folder.folder = holder.get();
            from = to + 1;
        }
    }

    entry_writer<Out>& entries_;
    tree_walker const& upper_;
    std::set<std::string> written_; // directories that have an entry
    std::map<inode_key, std::vector<std::string>> unchanged_names_;
};

/// Adds up what change_writer would write.
struct change_meter {
    std::uint64_t total = end_of_archive_size;
    names_by_inode seen{};

    void removed(tree_item const&) { total += tar_block_size; }
    void written(tree_item const& item) {
        total +=
            size_in_tar(item, !has_other_names(item) || seen.try_emplace(inode_of(item), item.path).second);
    }
    void unmodified(tree_item const&) {}
};

} // namespace detail

struct diff_layer {
    std::string lower, upper; ///< directories, or symbolic links to them
    ownership owners = kept_owners;
    xattr_policy xattrs = xattr_policy::capabilities; ///< also which attributes count as a change
    reserved_names reserved = reserved_names::refuse; ///< for both trees

    /// The whole tar. Repeatable; throws before it writes anything if either tree is not a directory.
    template <byte_sink Out>
    void write_tar(Out& out, layer_context const& context) const {
        tree_walker before{lower, reserved}, after{upper, reserved};
        detail::entry_writer<Out> entries{out, context, {owners, xattrs}, after};
        detail::change_writer<Out> changes{entries, after};
        detail::compare_trees(before, after, {before, after, xattrs, true}, changes);
        entries.finish();
    }

    /// About the size of the tar: without extended headers and unchanged parents, and where only the content
    /// could tell, a file counts as unchanged. Walks both trees and opens no file.
    [[nodiscard]] std::uint64_t estimated_size() const {
        tree_walker before{lower, reserved}, after{upper, reserved};
        detail::change_meter meter;
        detail::compare_trees(before, after, {before, after, xattrs, false}, meter);
        return meter.total;
    }

    [[nodiscard]] std::string description() const { return "diff:" + lower + ":" + upper; }
};

} // namespace shiplap
