#pragma once
// shared_names: which hard links of stacked layers are left, and what they link to when some of the names of a
// file are hidden by a later layer. The part of flatten.hpp that knows of links.
//
//     shared_names names;
//     ... names.begin_layer(2); names.add_content("a"); names.add_link("b", "a", true); ... // topmost layer first
//     names.settle(is_hidden);
//     ... names.name_for_content(1, "a", stays) ... names.target_of("b", "a") ...           // bottom layer first
//
// Seen from above, a link moves who wants a content to another name, and the content ends the search:
//
//   layer 1    a = "text"               "b" wants it: written as b, if a is hidden
//   layer 2    b is a link to a         who wants b wants a, and b itself does if it stays
//   layer 3    removes a
//
// Memory: the names of the files of one layer, and each name that is a link.

#include <shiplap/error.hpp>

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

namespace shiplap::detail {

/// Layers count from 1. Paths are in the one form that layer_flattener gives them.
class shared_names {
  public:
    /// What is added from now on is of this layer, which is not above the one before.
    void begin_layer(std::size_t layer) {
        if (layer == layer_) return;
        layer_ = layer;
        contents_.clear();
        links_.clear();
        for (auto const& [target, names] : std::exchange(wanted_here_, {})) append(wanted_[target], names);
    }

    /// There is something that is neither a directory nor a link.
    void add_content(std::string const& path) {
        contents_.insert(path);
        if (auto const wanted = wanted_.extract(path)) append(sharers_[{layer_, path}], wanted.mapped());
    }

    /// There is a hard link; `stays`: no later layer hides it.
    void add_link(std::string const& path, std::string target, bool stays) {
        origin from{std::move(target), false};
        if (auto const link = links_.find(from.name); link != links_.end())
            from = link->second;
        else
            from.is_here = contents_.contains(from.name);
        links_.insert_or_assign(path, from);

        linked names{{}, layer_};
        if (auto above = wanted_.extract(path)) names.names = std::move(above.mapped().names);
        if (stays) names.names.push_back(path);
        if (names.names.empty()) return;
        append(from.is_here ? sharers_[{layer_, from.name}] : wanted_here_[from.name], names);
    }

    /// All layers were seen; further calls do nothing. Content that was not met lies below all layers and has to
    /// stay there: throws error{unsupported} if `is_hidden(n, path)`, which says whether a layer above n hides it.
    template <class IsHidden>
    void settle(IsHidden is_hidden) {
        if (layer_ == 0) return;
        begin_layer(0);
        for (auto const& [target, wanted] : std::exchange(wanted_, {})) {
            if (is_hidden(wanted.layer - 1, target))
                throw error{error_code::unsupported, "flatten", wanted.names.front(),
                            "is a hard link to '" + printable(target) +
                                "', whose content is in none of these layers, and one of them hides it"};
            for (auto const& name : wanted.names) sources_.insert_or_assign(name, target);
        }
    }

    /// What the content of `path` in `layer` is to be called, its own name if that `stays`; nothing if nobody
    /// wants it.
    std::optional<std::string> name_for_content(std::size_t layer, std::string const& path, bool stays) {
        auto const sharers = sharers_.find({layer, path});
        if (sharers == sharers_.end()) return stays ? std::optional{path} : std::nullopt;
        auto const& names = sharers->second.names;
        auto const& name = stays ? path : names.front();
        for (auto const& other : names) sources_.insert_or_assign(other, name);
        return name;
    }

    /// What the link `path`, which stays, is to link to; `path` itself if it got the content. `target` is what
    /// its entry says.
    [[nodiscard]] std::string target_of(std::string const& path, std::string const& target) const {
        auto const source = sources_.find(path);
        return source == sources_.end() ? target : source->second;
    }

  private:
    /// Names in the result of one content; `layer` is the lowest that links to it.
    struct linked {
        std::vector<std::string> names{};
        std::size_t layer = 0;
    };

    /// The name that came with a content: in this layer or, though it may have got another file since, below it.
    struct origin {
        std::string name;
        bool is_here;
    };

    static void append(linked& to, linked const& lower) {
        to.names.insert(to.names.end(), lower.names.begin(), lower.names.end());
        to.layer = lower.layer;
    }

    std::size_t layer_ = 0;                              // that is surveyed; 0: none
    std::unordered_set<std::string> contents_;           // of that layer
    std::map<std::string, origin> links_;                // of that layer
    std::map<std::string, linked> wanted_, wanted_here_; // not met yet; what that layer wants of lower ones
    std::map<std::pair<std::size_t, std::string>, linked> sharers_; // content -> links to it that stay
    std::map<std::string, std::string> sources_;                    // name -> the one that has the content
};

} // namespace shiplap::detail
