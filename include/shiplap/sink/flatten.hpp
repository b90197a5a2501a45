#pragma once
// flatten: which entries of stacked layers are left when all are applied (image-spec, layer.md,
// "Changesets").
//
//     layer_flattener layers{flattened::changes};
//     ... layers.survey(i, entry);                  // every entry of every layer, topmost layer first
//     ... layers.decide(i, entry, write_entry);     // the same again, bottom layer first
//
// survey() learns what each layer hides in those below. decide() then says for each entry whether it is still
// there, and under which name its content is kept.
//
//   hidden in layer k       by a layer above k that
//   the path itself         has an entry or a whiteout of that path
//   all below the path      has a whiteout of it, marks it opaque, or has something there that is no
//   directory
//
// A directory in several layers is written where it first occurs, with the facts of the topmost, so that
// parents precede children. Names that share a file go on doing so; if the one that came with the content is
// hidden, the content comes with another one.
//
// With flattened::changes the result is a layer for what lies below the layers, and does to that what they
// did together:
//
//   at P in the result      if a layer hid what is at or below P, it says
//   nothing                 .wh.P
//   a directory             P/, then P/.wh..wh..opq: overlay file systems cannot have .wh.P beside P/
//   anything else           nothing, for the entry hides it
//
// and nothing of that below a directory that is hidden itself.
//
// Names are taken as they are written: no symbolic link is followed, so layers must not reach the same file by
// two paths. A directory that has no entry is there as long as something in it is.

#include <shiplap/error.hpp>
#include <shiplap/sink/shared_names.hpp>
#include <shiplap/tar/entry.hpp>
#include <shiplap/tar/whiteout.hpp>

#include <algorithm>
#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>

namespace shiplap {

/// What flattened layers become.
enum class flattened {
    tree,    ///< all that there is: nothing lies below them
    changes, ///< one layer for what lies below them
};

class layer_flattener {
  public:
    explicit layer_flattener(flattened into = flattened::tree) noexcept : into_{into} {}

    /// Learns one entry of `layer` (0 is the bottom). Call for all entries of all layers, topmost layer
    /// first.
    void survey(std::size_t layer, tar_entry const& entry) {
        names_.begin_layer(++layer); // counted from 1 inside
        auto const path = key_of(entry.name);
        auto const meaning = classify_whiteout(path);
        if (meaning.kind == whiteout_kind::ignored) return;
        if (meaning.kind == whiteout_kind::opaque) return note(emptied_, meaning.path, layer);
        if (meaning.kind == whiteout_kind::removal) {
            note(removed_, meaning.path, layer);
            return note(emptied_, meaning.path, layer);
        }
        bool const stays = !is_hidden(layer, path);
        if (stays && into_ == flattened::changes) note_folders_above(path);
        note_repetition(layer, path, entry);
        if (entry.type == entry_type::directory) {
            auto const found = directories_.try_emplace(path, layer, entry).first;
            if (found->second.first == layer) found->second.second = entry; // the last of several
            return;
        }
        if (entry.type == entry_type::hard_link)
            names_.add_link(path, key_of(entry.link_name), stays);
        else
            names_.add_content(path);
        note(files_, path, layer);
        note(emptied_, path, layer);
    }

    /// Hands to `write(entry)` what is to be written for `entry`. At most one of that has a payload: its own.
    /// Call for all entries of all layers, bottom layer first. Throws error{unsupported} for a hard link to
    /// content that none of the layers has and one of them hides.
    ///
    /// Without a survey, which a single layer does not need, all that is no whiteout is written as it is.
    template <class Write>
    void decide(std::size_t layer, tar_entry entry, Write write) {
        ++layer;
        settle_links();
        auto const path = key_of(entry.name);
        if (comes_again(layer, path)) return;
        auto const meaning = classify_whiteout(path);
        if (meaning.kind != whiteout_kind::none) {
            if (meaning.kind != whiteout_kind::ignored && into_ == flattened::changes)
                decide_whiteout(meaning.path, write);
        } else if (entry.type == entry_type::directory) {
            if (!is_replaced(layer, path) && !is_below_emptied(layer, path))
                write_directory(path, std::move(entry), write);
        } else if (entry.type == entry_type::hard_link) {
            if (is_hidden(layer, path)) return;
            entry.link_name = names_.target_of(path, key_of(entry.link_name));
            if (entry.link_name == path) return; // written with the content
            entry.name = path;
            write(entry);
        } else {
            decide_content(layer, path, std::move(entry), write);
        }
    }

  private:
    using topmost = std::unordered_map<std::string, std::size_t>;

    // "./a/b/" and "a/b" are one path; one that leaves the root is refused.
    static std::string key_of(std::string_view name) {
        std::string path;
        for (std::size_t start = 0; start <= name.size();) {
            auto const end = std::min(name.find('/', start), name.size());
            auto const part = name.substr(start, end - start);
            if (part == "..")
                throw error{error_code::unsafe_entry, "flatten", std::string{name},
                            "leaves the root directory"};
            if (!part.empty() && part != ".") path.append(path.empty() ? "" : "/").append(part);
            start = end + 1;
        }
        return path;
    }

    /// Whether `test` holds for a directory above `path`, "" among them.
    template <class Test>
    static bool any_above(std::string const& path, Test test) {
        if (path.empty()) return false;
        if (test(std::string{})) return true;
        for (auto slash = path.find('/'); slash != std::string::npos; slash = path.find('/', slash + 1))
            if (test(path.substr(0, slash))) return true;
        return false;
    }

    // --- what is hidden

    static void note(topmost& layers, std::string const& path, std::size_t layer) {
        layers.try_emplace(path, layer); // the topmost layer came first
    }
    static bool reaches(topmost const& layers, std::string const& path, std::size_t layer) {
        auto const found = layers.find(path);
        return found != layers.end() && found->second > layer;
    }

    [[nodiscard]] bool is_replaced(std::size_t layer, std::string const& path) const {
        return reaches(files_, path, layer) || reaches(removed_, path, layer);
    }
    [[nodiscard]] bool is_below_emptied(std::size_t layer, std::string const& path) const {
        return any_above(path, [&](std::string const& folder) { return reaches(emptied_, folder, layer); });
    }
    [[nodiscard]] bool is_hidden(std::size_t layer, std::string const& path) const {
        auto const folder = directories_.find(path);
        return is_replaced(layer, path) || is_below_emptied(layer, path) ||
               (folder != directories_.end() && folder->second.first > layer);
    }

    // --- paths that an archive has twice, as tar -r makes them: the last one counts

    void note_repetition(std::size_t layer, std::string const& path, tar_entry const& entry) {
        if (std::exchange(surveyed_, layer) != layer) {
            here_.clear();
            linked_.clear();
        }
        auto const is_file = entry.type != entry_type::directory && entry.type != entry_type::hard_link;
        if (auto const [known, is_new] = here_.try_emplace(path, entry.type); !is_new) {
            bool const was_directory = known->second == entry_type::directory;
            if (entry.type == entry_type::directory && was_directory) return;
            if (!is_file || was_directory || known->second == entry_type::hard_link || linked_.contains(path))
                throw error{error_code::unsupported, "flatten", entry.name,
                            "is there twice in one layer, as different things or with a hard link to the "
                            "first; extract the layer and pack the tree instead"};
            ++repeated_[{layer, path}];
            known->second = entry.type;
        }
        if (entry.type == entry_type::hard_link) linked_.insert(key_of(entry.link_name));
    }

    bool comes_again(std::size_t layer, std::string const& path) {
        auto const found = repeated_.find({layer, path});
        if (found == repeated_.end() || found->second == 0) return false;
        --found->second;
        return true;
    }

    // --- names that share a file

    void settle_links() {
        names_.settle([this](std::size_t layer, std::string const& path) { return is_hidden(layer, path); });
    }

    template <class Write>
    void decide_content(std::size_t layer, std::string const& path, tar_entry entry, Write& write) {
        auto const name = names_.name_for_content(layer, path, !is_hidden(layer, path));
        if (!name) return;
        entry.name = *name;
        if (*name != path) write_folders_above(*name, write);
        write(entry);
    }

    // --- directories, and what of them is gone

    void note_folders_above(std::string const& path) {
        for (auto slash = path.rfind('/'); slash != std::string::npos; slash = path.rfind('/', slash - 1))
            if (!folders_.insert(path.substr(0, slash)).second) return; // and so are those above it
    }

    /// An entry in the place of several, and what it says of the directory's content below the layers.
    template <class Write>
    void write_directory(std::string const& path, tar_entry entry, Write& write) {
        if (!written_.insert(path).second && surveyed_ != 0) return;
        if (auto const found = directories_.find(path); found != directories_.end())
            entry = found->second.second;
        entry.name = path.empty() ? "./" : path + "/";
        write(entry);
        if (into_ == flattened::changes && emptied_.contains(path) && !is_covered(path))
            write(opaque_entry(path));
    }

    /// Writes what has an entry in the result, though that comes later.
    template <class Write>
    void write_folders_above(std::string const& path, Write& write) {
        any_above(path, [&](std::string const& folder) {
            if (auto const found = directories_.find(folder); found != directories_.end() && stays(*found))
                write_directory(folder, found->second.second, write);
            else if (into_ == flattened::changes && emptied_.contains(folder))
                decide_whiteout(folder, write);
            return false;
        });
    }

    template <class Directory>
    [[nodiscard]] bool stays(Directory const& found) const {
        auto const& [path, topmost_entry] = found;
        return !is_replaced(topmost_entry.first, path) && !is_below_emptied(topmost_entry.first, path);
    }

    /// Whether all below `path` that lies below the layers is hidden by what is said further up.
    [[nodiscard]] bool is_covered(std::string const& path) const {
        return any_above(path, [&](std::string const& folder) { return emptied_.contains(folder); });
    }

    template <class Write>
    void decide_whiteout(std::string const& path, Write& write) {
        if (written_.contains(path) || is_covered(path)) return;
        if (auto const found = directories_.find(path); found != directories_.end() && stays(*found)) {
            write_folders_above(path, write);
            return write_directory(path, found->second.second, write);
        }
        auto const file = files_.find(path);
        if (file != files_.end() && !is_hidden(file->second, path)) return;
        written_.insert(path);
        bool const is_gone = file != files_.end() || removed_.contains(path);
        bool const is_folder = folders_.contains(path);
        if (is_gone && !is_folder) return write(whiteout_entry(path));
        // Without an entry, a directory is made as who extracts layers makes it.
        if (is_gone) write(tar_entry{.name = path + "/", .type = entry_type::directory, .mode = 0755});
        write(opaque_entry(path));
    }

    static tar_entry opaque_entry(std::string const& folder) {
        return {.name = (folder.empty() ? "" : folder + "/") + std::string{opaque_marker}};
    }

    flattened into_;
    topmost removed_, files_; // paths that have a whiteout, or anything but a directory
    topmost emptied_;         // directories of which nothing that lies below is left
    std::unordered_map<std::string, std::pair<std::size_t, tar_entry>> directories_; // topmost
    std::unordered_set<std::string>
        folders_; // what must be a directory in the result, for something is in it

    std::size_t surveyed_ = 0;                         // the layer that is surveyed; 0: none was
    std::unordered_map<std::string, entry_type> here_; // what that layer has
    std::unordered_set<std::string> linked_;           // and what it has hard links to
    std::map<std::pair<std::size_t, std::string>, std::size_t> repeated_; // entries before the last of a path

    detail::shared_names names_;
    std::unordered_set<std::string> written_; // directories, and what whiteouts are about
};

} // namespace shiplap
