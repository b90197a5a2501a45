#pragma once
// collect: garbage collection of an image store, an OCI layout directory.
//
// Removed are blobs that no entry of index.json reaches, unpacked trees of layers that no image has, and what killed
// processes have left. All of it happens under the lock of the layout, in which others publish their images. What they
// rely on until then they have leased (store/blob_lease.hpp) or not yet given a name. A damaged document ends it before
// anything is removed. Other tools know nothing of all this: they must not write into the layout meanwhile.

#include <shiplap/error.hpp>
#include <shiplap/sink/tree_removal.hpp>
#include <shiplap/sink/unpacked.hpp>
#include <shiplap/store/blob_lease.hpp>
#include <shiplap/store/layout.hpp>
#include <shiplap/store/reachable.hpp>

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace shiplap {

struct collected_garbage {
    std::vector<digest> blobs{}; ///< that were removed
    std::uint64_t bytes = 0;     ///< of these
    std::vector<digest> trees{}; ///< chain ids of unpacked trees that were removed
    std::vector<digest> kept{};  ///< blobs that no image needs, but an export that is under way
};

namespace detail {

class garbage_collector {
  public:
    garbage_collector(std::string path, reachable_contents needed, bool only_try)
        : path_{std::move(path)}, needed_{std::move(needed)}, only_try_{only_try} {
        for (auto const& image : needed_.images) chains_.insert(image.chain);
    }

    collected_garbage run() && {
        for (auto const* algorithm : {"sha256", "sha512"}) {
            collect_blobs(algorithm);
            collect_trees(algorithm);
        }
        return std::move(found_);
    }

  private:
    // The names in a folder of the store, if there is one, and its descriptor.
    static std::vector<std::string> open_folder(std::string const& folder, unique_fd& fd) {
        if (!file_facts(folder)) return {};
        fd = open_file(folder, O_RDONLY | O_DIRECTORY);
        return names_in(fd.get(), folder);
    }

    // What a file is called by; nothing if it is not ours.
    static std::optional<digest> digest_of(std::string const& algorithm, std::string const& name) {
        try {
            return digest::parse(algorithm + ":" + name);
        } catch (format_error const&) {
            return std::nullopt;
        }
    }

    void collect_blobs(std::string const& algorithm) {
        auto const folder = path_ + "/blobs/" + algorithm + "/";
        unique_fd fd;
        for (auto const& name : open_folder(folder, fd)) {
            auto const path = folder + name;
            // Here a file has a hidden name only while it is published, which is under the lock that we have.
            bool const is_leftover = name.starts_with(".shiplap-");
            auto const which = digest_of(algorithm, name);
            if (!is_leftover && (!which || needed_.blobs.contains(*which))) continue;
            auto const facts = stat_name(fd.get(), name.c_str(), path);
            if (!S_ISREG(facts.st_mode)) continue;
            if (!remove_unleased(path, only_try_)) {
                if (which) found_.kept.push_back(*which);
                continue;
            }
            found_.bytes += static_cast<std::uint64_t>(facts.st_size);
            if (which) found_.blobs.push_back(*which);
        }
    }

    void collect_trees(std::string const& algorithm) {
        auto const folder = path_ + "/.shiplap-unpacked/" + algorithm + "/";
        unique_fd fd;
        auto const names = open_folder(folder, fd);
        if (!fd) return;
        bool const nobody_unpacks =
            retry_interrupted([&] { return ::flock(fd.get(), LOCK_EX | LOCK_NB); }) == 0;
        for (auto const& name : names) {
            auto const chain = digest_of(algorithm, name);
            bool const is_leftover =
                name.starts_with(old_tree) || (nobody_unpacks && name.starts_with(".shiplap-"));
            if (!is_leftover && (!chain || chains_.contains(*chain))) continue;
            if (chain) found_.trees.push_back(*chain);
            if (only_try_) continue;
            auto hidden = name;
            if (chain) { // a tree that is half removed must not be taken for a whole one
                hidden = old_tree + name;
                if (::renameat(fd.get(), name.c_str(), fd.get(), hidden.c_str()) != 0)
                    throw system_error{"remove", folder + name, errno};
            }
            remove_tree(fd.get(), hidden, folder + hidden);
        }
    }

    static constexpr char old_tree[] = ".shiplap-old-";

    std::string path_;
    reachable_contents needed_;
    std::set<digest> chains_;
    bool only_try_;
    collected_garbage found_;
};

} // namespace detail

/// Removes what no image of the layout in directory `path` needs; with `only_try` just says what that is. Throws
/// error{not_found} if there is no layout or an image of it is missing, format_error or digest_mismatch if a document is
/// damaged, and then has removed nothing.
inline collected_garbage collect_garbage(std::string const& path, bool only_try = false) {
    layout_store const layout{path};
    static_cast<void>(layout.entries()); // throws if there is no layout to lock
    folder_lock const lock{layout.path()};
    auto needed = [&] {
        try {
            return find_reachable(layout.entries(), layout);
        } catch (error& failure) {
            failure.within("nothing was removed, for an image is damaged");
            throw;
        }
    }();
    return detail::garbage_collector{layout.path(), std::move(needed), only_try}.run();
}

} // namespace shiplap
