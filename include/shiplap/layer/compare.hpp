#pragma once
// When is a file of the upper tree the one that the lower tree has? As BuildKit's walking differ decides:
// names of one inode are the same file; else mode, owner, device number and stored attributes must agree, and
// for all but directories size and modification time. Archives truncate times to seconds, so two times
// without a sub-second part prove little: then contents (of links: targets) are compared too.

#include <shiplap/layer/header.hpp>
#include <shiplap/layer/source_file.hpp>

namespace shiplap::detail {

inline bool same_content(tree_item const& a, source_label label_a, tree_item const& b, source_label label_b) {
    source_file left{a, label_a}, right{b, label_b};
    auto const space = std::make_unique_for_overwrite<std::byte[]>(2 * transfer_size);
    bytes_span const left_space{space.get(), transfer_size},
        right_space{space.get() + transfer_size, transfer_size};
    for (;;) {
        auto const n = read_fully(left, left_space);
        if (read_fully(right, right_space.first(n)) != n) return false;
        if (n == 0) return true;
        if (std::memcmp(left_space.data(), right_space.data(), n) != 0) return false;
    }
}

/// Compares things with the same path in two trees.
class file_comparison {
  public:
    /// `open_files` false: contents that would have to be read are taken to be equal.
    file_comparison(tree_walker const& lower, tree_walker const& upper, xattr_policy xattrs, bool open_files)
        : lower_{lower}, upper_{upper}, xattrs_{xattrs}, open_files_{open_files} {}

    [[nodiscard]] bool same(tree_item const& a, tree_item const& b) const {
        auto const &x = a.facts, &y = b.facts;
        if (x.st_dev == y.st_dev && x.st_ino == y.st_ino) return true;
        if (x.st_mode != y.st_mode || x.st_uid != y.st_uid || x.st_gid != y.st_gid || x.st_rdev != y.st_rdev)
            return false;
        auto const label_a = lower_.label(a.path), label_b = upper_.label(b.path);
        if (read_attributes(attribute_place::of(a), xattrs_, label_a) !=
            read_attributes(attribute_place::of(b), xattrs_, label_b))
            return false;
        if (a.is_directory()) return true;
        if (x.st_size != y.st_size || x.st_mtim.tv_sec != y.st_mtim.tv_sec ||
            x.st_mtim.tv_nsec != y.st_mtim.tv_nsec)
            return false;
        if (x.st_mtim.tv_nsec != 0) return true;
        if (a.is_symbolic_link()) return read_link(a, label_a) == read_link(b, label_b);
        return !a.is_regular() || x.st_size == 0 || !open_files_ || same_content(a, label_a, b, label_b);
    }

  private:
    tree_walker const& lower_;
    tree_walker const& upper_;
    xattr_policy xattrs_;
    bool open_files_;
};

} // namespace shiplap::detail
