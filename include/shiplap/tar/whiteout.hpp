#pragma once
// Whiteouts: how a layer says that something of the layers below is gone (image-spec, layer.md, "Whiteouts").
//
//   name                meaning
//   dir/.wh.NAME        an empty file: dir/NAME of lower layers is removed
//   dir/.wh..wh..opq    an empty file: all that lower layers have in dir is hidden
//   dir/.wh..wh.*       any other such name is bookkeeping of AUFS and to be ignored, with what is below it
//
// Neither ever removes what its own layer brings, wherever in the archive it stands. A file that really has
// such a name cannot be stored in a layer.

#include <shiplap/error.hpp>
#include <shiplap/tar/entry.hpp>

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

namespace shiplap {

inline constexpr std::string_view whiteout_prefix = ".wh.";
inline constexpr std::string_view opaque_marker = ".wh..wh..opq";

/// Is this last part of a path one that layers give a meaning to?
constexpr bool is_reserved_name(std::string_view base) noexcept {
    return base.starts_with(whiteout_prefix);
}

/// The name of the whiteout for `path`, which has no slash at its end.
inline std::string whiteout_name(std::string_view path) {
    auto const base = path.rfind('/') + 1; // 0 if there is no '/'
    return std::string{path.substr(0, base)}.append(whiteout_prefix).append(path.substr(base));
}

/// A whiteout as the original differs write it: nothing but a name, even the time is 0.
inline tar_entry whiteout_entry(std::string_view path) {
    tar_entry entry;
    entry.name = whiteout_name(path);
    return entry;
}

enum class whiteout_kind {
    none,    ///< an ordinary path
    removal, ///< `path` is removed
    opaque,  ///< lower content of the directory `path` is hidden; "" is the root
    ignored, ///< without meaning; not to be extracted
};

struct whiteout {
    whiteout_kind kind = whiteout_kind::none;
    std::string path; ///< as the entry spells it, without a slash at its end
    friend bool operator==(whiteout const&, whiteout const&) = default;
};

/// What the name of an entry means. Throws format_error for a whiteout that removes nothing that can be named
/// (".wh." alone, ".wh..", ".wh..."), that is a directory, or that has entries below it.
inline whiteout classify_whiteout(std::string_view path) {
    static constexpr std::string_view aufs_prefix = ".wh..wh.";
    auto const invalid = [path](std::string reason) {
        return format_error{"read layer", std::string{path}, std::move(reason)};
    };
    for (std::size_t begin = 0; begin < path.size();) {
        auto const end = std::min(path.find('/', begin), path.size());
        auto const part = path.substr(begin, end - begin);
        if (part.starts_with(aufs_prefix) && part != opaque_marker) return {whiteout_kind::ignored, {}};
        if (is_reserved_name(part)) {
            if (end != path.size()) throw invalid("a whiteout must be an empty file, not a directory");
            if (part == opaque_marker)
                return {whiteout_kind::opaque, std::string{path.substr(0, begin == 0 ? 0 : begin - 1)}};
            auto const removed = part.substr(whiteout_prefix.size());
            if (removed.empty() || removed == "." || removed == "..")
                throw invalid("a whiteout must name what it removes");
            return {whiteout_kind::removal, std::string{path.substr(0, begin)}.append(removed)};
        }
        begin = end + 1;
    }
    return {};
}

} // namespace shiplap
