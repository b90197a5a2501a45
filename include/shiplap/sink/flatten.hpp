#pragma once
// flatten: which entries of stacked layers are left when all are applied (image-spec, layer.md,
// "Changesets").
//
// Layers are shown top first to survey(): it learns what each layer hides in those below. Then they are shown
// bottom first to decide(), which says for each entry whether it is still there, and under which name its
// content is kept.
//
//   hidden in layer k       by a layer above k that
//   the path itself         has an entry or a whiteout of that path
//   all below the path      has a whiteout of it, marks it opaque, or has something there that is no
//   directory
//
// Two cases need care. A directory in several layers is written where it first occurs, with the facts of the
// topmost, so that parents precede children. A hard link whose target is hidden while the link is not gets
// the target's content.

#include <shiplap/error.hpp>
#include <shiplap/tar/entry.hpp>
#include <shiplap/tar/whiteout.hpp>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>

namespace shiplap {

class layer_flattener {
  public:
    /// Learns one entry of `layer` (0 is the bottom). Call for all entries of all layers, topmost layer
    /// first.
    void survey(std::size_t layer, tar_entry const& entry) {
        auto const path = key_of(entry.name);
        auto const kind = classify_whiteout(path);
        if (kind.kind == whiteout_kind::ignored) return;
        if (kind.kind == whiteout_kind::opaque) return hide(below_, kind.path, layer);
        if (kind.kind == whiteout_kind::removal) {
            hide(self_, kind.path, layer);
            return hide(below_, kind.path, layer);
        }
        if (entry.type == entry_type::directory) {
            directories_.try_emplace(path, layer, entry);
            return;
        }
        if (entry.type == entry_type::hard_link && !is_hidden(layer, path)) {
            auto const target = key_of(entry.link_name);
            if (is_hidden(layer, target)) heirs_.try_emplace({layer, target}, path);
        }
        hide(self_, path, layer);
        hide(below_, path, layer);
    }

    /// What of `entry` is to be written: nothing, or an entry (perhaps under another name) that has the same
    /// payload. Call for all entries of all layers, bottom layer first.
    std::optional<tar_entry> decide(std::size_t layer, tar_entry entry) {
        auto const path = key_of(entry.name);
        if (classify_whiteout(path).kind != whiteout_kind::none) return std::nullopt;
        if (entry.type == entry_type::directory) return decide_directory(layer, path, std::move(entry));
        if (is_hidden(layer, path)) return inherit(layer, path, std::move(entry));
        if (entry.type == entry_type::hard_link) {
            auto const target = key_of(entry.link_name);
            if (auto const heir = inherited_.find({layer, target}); heir != inherited_.end()) {
                if (heir->second == path) return std::nullopt; // has been written with the content
                entry.link_name = heir->second;
            } else if (is_hidden(layer, target)) {
                throw error{error_code::unsupported, "flatten", entry.name,
                            "is a hard link to '" + printable(entry.link_name) +
                                "', whose content a later layer replaces"};
            } else {
                entry.link_name = target;
            }
        }
        entry.name = path;
        return entry;
    }

  private:
    using place = std::pair<std::size_t, std::string>; // layer and path

    // "./a/b/" and "a/b" are one path; one that leaves the root is refused.
    static std::string key_of(std::string_view name) {
        std::string path;
        for (std::size_t start = 0; start <= name.size();) {
            auto const end = std::min(name.find('/', start), name.size());
            auto const part = name.substr(start, end - start);
            if (part == "..")
                throw error{error_code::unsafe_entry, "flatten", std::string{name},
                            "leaves the root directory"};
            if (!part.empty() && part != ".") path += (path.empty() ? "" : "/") + std::string{part};
            start = end + 1;
        }
        return path;
    }

    static void hide(std::map<std::string, std::size_t>& highest, std::string const& path,
                     std::size_t layer) {
        highest.try_emplace(path, layer); // the topmost layer came first
    }

    static bool reaches(std::map<std::string, std::size_t> const& highest, std::string const& path,
                        std::size_t layer) {
        auto const found = highest.find(path);
        return found != highest.end() && found->second > layer;
    }

    [[nodiscard]] bool is_hidden(std::size_t layer, std::string const& path) const {
        if (reaches(self_, path, layer)) return true;
        if (auto const found = directories_.find(path);
            found != directories_.end() && found->second.first > layer)
            return true;
        return is_below_hidden(layer, path);
    }

    [[nodiscard]] bool is_below_hidden(std::size_t layer, std::string const& path) const {
        if (reaches(below_, "", layer)) return true; // an opaque root
        for (auto slash = path.find('/'); slash != std::string::npos; slash = path.find('/', slash + 1))
            if (reaches(below_, path.substr(0, slash), layer)) return true;
        return false;
    }

    std::optional<tar_entry> decide_directory(std::size_t layer, std::string const& path, tar_entry entry) {
        if (path.empty() || reaches(self_, path, layer) || is_below_hidden(layer, path)) return std::nullopt;
        if (!written_.insert(path).second) return std::nullopt;
        if (auto const topmost = directories_.find(path); topmost != directories_.end())
            entry = topmost->second.second;
        entry.name = path + "/";
        return entry;
    }

    std::optional<tar_entry> inherit(std::size_t layer, std::string const& path, tar_entry entry) {
        auto const heir = heirs_.find({layer, path});
        if (heir == heirs_.end()) return std::nullopt;
        inherited_.insert(*heir);
        entry.name = heir->second;
        return entry;
    }

    std::map<std::string, std::size_t> self_,
        below_; // path -> topmost layer that hides it, or what is below it
    std::map<std::string, std::pair<std::size_t, tar_entry>> directories_; // topmost
    std::map<place, std::string> heirs_;     // hidden target -> the link that gets its content
    std::map<place, std::string> inherited_; // those of them that have got it
    std::set<std::string> written_;          // directories
};

} // namespace shiplap
