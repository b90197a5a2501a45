#pragma once
// unpacked: root file systems below an image store, ready to run, one for each stack of layers:
//
//     STORE/.shiplap-unpacked/<algorithm>/<hex of the chain id>/
//
// Images with the same layers share a tree, however these are packed, and a tree that is there is not made again. One
// that differs in its top layer only is unpacked from the bottom: to copy the tree of the layers below would cost as
// much. A tree appears whole or not at all. Who runs something in it should not write to it (a read-only root, or
// an overlay above it): the next user takes what is there for the image.
//
// While a tree is being made, a shared lock on the folder says so: what is half done then is no garbage.

#include <shiplap/bytes/progress.hpp>
#include <shiplap/image/chain_id.hpp>
#include <shiplap/image/platform.hpp>
#include <shiplap/sink/copy.hpp>
#include <shiplap/sink/filesystem.hpp>
#include <shiplap/store/created_paths.hpp>
#include <shiplap/store/graph.hpp>
#include <shiplap/store/layout.hpp>

#include <optional>
#include <string>

#include <sys/file.h>
#include <sys/stat.h>

namespace shiplap {

/// Where the layers of this chain are unpacked in the store at `path`, or would be.
inline std::string unpacked_path(std::string const& path, digest const& chain) {
    return path + "/.shiplap-unpacked/" + std::string{chain.algorithm()} + "/" + std::string{chain.encoded()};
}

inline bool is_unpacked(std::string const& path, digest const& chain) {
    auto const facts = detail::file_facts(unpacked_path(path, chain));
    return facts && S_ISDIR(facts->st_mode);
}

struct unpacked_image {
    std::string path;
    bool reused; ///< it was there
};

namespace detail {

/// The image of `root` for a platform with its configuration; nothing if there is none.
inline std::optional<selected_image> image_to_unpack(layout_store const& store, descriptor const& root,
                                                     platform const& wanted, image_config& config) {
    std::optional<selected_image> found;
    try {
        found = find_image(root, store, wanted);
    } catch (error const& failure) {
        if (failure.code() != error_code::not_found || failure.operation() != "select platform") throw;
        return std::nullopt;
    }
    config = read_config(read_blob(store, found->manifest.config), found->manifest.config.digest.text());
    if (!same_target(config.platform, wanted)) return std::nullopt; // a manifest without an index
    return found;
}

struct unpacking_env {
    progress_ref progress;
};

} // namespace detail

/// Unpacks the image of `root` for a platform below its store, unless that was done before. Nothing is done if there is
/// no image for that platform. Throws as filesystem_sink does, and then there is no tree.
inline std::optional<unpacked_image> unpack_image(layout_store const& store, descriptor const& root,
                                                  platform const& wanted, progress_ref progress = {}) {
    image_config config;
    auto const image = detail::image_to_unpack(store, root, wanted, config);
    if (!image) return std::nullopt;
    auto const chain = chain_id(config.diff_ids);
    unpacked_image out{unpacked_path(store.path(), chain), is_unpacked(store.path(), chain)};
    if (out.reused) return out;

    auto const folder = detail::parent_of(out.path);
    detail::created_paths made;
    detail::make_folders(folder, made);
    made.keep();
    auto const in_use = detail::open_file(folder, O_RDONLY | O_DIRECTORY);
    if (detail::retry_interrupted([&] { return ::flock(in_use.get(), LOCK_SH); }) != 0)
        throw system_error{"lock", folder, errno};
    try {
        filesystem_sink tree{out.path, {.extraction = {.progress = progress}}};
        detail::unpacking_env env{progress};
        copy(image->root, {}, store, tree, env);
    } catch (error const&) {
        // Another process may have been faster.
        if (!is_unpacked(store.path(), chain)) throw;
        out.reused = true;
    }
    return out;
}

} // namespace shiplap
