#pragma once
// directory_layer: a directory becomes a layer, the root itself excepted. The default policies give the bytes
// that BuildKit gives for the same tree (layer/header.hpp has the rules); beside them stand three policies:
//
//     directory_layer{"app"}
//     directory_layer{.path = "app", .owners = root_owned}
//     directory_layer{.path = "app", .xattrs = xattr_policy::user_and_capabilities, .reserved =
//     reserved_names::skip}
//
// A file that changes while it is read is an error that names it; so are unreadable and vanished ones.

#include <shiplap/layer/entry_writer.hpp>

namespace shiplap {

struct directory_layer {
    std::string path; ///< a directory, or a symbolic link to one
    ownership owners = kept_owners;
    xattr_policy xattrs = xattr_policy::capabilities;
    reserved_names reserved = reserved_names::refuse;

    /// The whole tar. Repeatable; throws before it writes anything if `path` is not a directory.
    template <byte_sink Out>
    void write_tar(Out& out, layer_context const& context) const {
        tree_walker walk{path, reserved, walk_access::contents};
        detail::entry_writer<Out> writer{out, context, {owners, xattrs}, walk};
        while (auto const* item = walk.next()) writer.put(*item);
        writer.finish();
    }

    /// The size of the tar, but for extended headers. Walks the tree and opens no file.
    [[nodiscard]] std::uint64_t estimated_size() const {
        tree_walker walk{path, reserved};
        detail::names_by_inode seen;
        std::uint64_t total = detail::end_of_archive_size;
        while (auto const* item = walk.next()) {
            auto const first = !detail::has_other_names(*item) ||
                               seen.try_emplace(detail::inode_of(*item), item->path).second;
            total += detail::size_in_tar(*item, first);
        }
        return total;
    }

    [[nodiscard]] std::string description() const { return "dir:" + path; }
};

} // namespace shiplap
