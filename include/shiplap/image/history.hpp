#pragma once
// history: how an image came to be, one entry for each layer and for each step that changed only the
// configuration (image-spec, config.md, "history").
//
// The number of entries without `empty_layer` must be the number of layers, and every entry should have a
// time. A history that was given with a configuration rarely fits: normalise_history() repairs it by the
// rules of BuildKit's exporters, so that the same input gives the same configuration to the byte.

#include <shiplap/image/json.hpp>
#include <shiplap/image/json_node.hpp>
#include <shiplap/image/layer_blob.hpp>
#include <shiplap/image/rfc3339.hpp>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace shiplap {

struct history_entry {
    std::optional<zoned_time> created{};
    std::string created_by{}, author{}, comment{};
    bool empty_layer = false; ///< the step made no layer
    friend bool operator==(history_entry const&, history_entry const&) = default;
};

namespace detail {

/// Reads an optional time.
inline std::optional<zoned_time> read_time(json_node const& node) {
    if (!node) return std::nullopt;
    auto const time = parse_rfc3339(node.text());
    if (!time) node.refuse("must be a time as in 2006-01-02T15:04:05Z (RFC 3339)");
    return time;
}

} // namespace detail

/// Reads the "history" of a configuration. Throws format_error.
inline std::vector<history_entry> read_history(json_node const& node) {
    std::vector<history_entry> out;
    for (std::size_t i = 0; i < node.length(); ++i) {
        auto const item = node.item(i);
        auto const empty = item["empty_layer"];
        out.push_back({.created = detail::read_time(item["created"]),
                       .created_by = item.text_of("created_by"),
                       .author = item.text_of("author"),
                       .comment = item.text_of("comment"),
                       .empty_layer = empty && empty.boolean()});
    }
    return out;
}

/// In Go's order of members; what is empty or false is left out.
inline json to_json(std::vector<history_entry> const& history) {
    auto out = detail::empty_array();
    for (auto const& entry : history) {
        auto item = detail::empty_object();
        if (entry.created) detail::add_text(item, "created", format_rfc3339(*entry.created));
        detail::add_text(item, "created_by", entry.created_by);
        detail::add_text(item, "author", entry.author);
        detail::add_text(item, "comment", entry.comment);
        if (entry.empty_layer)
            detail::add_member(item, "empty_layer", detail::json_scalar(json::value_t::boolean, true));
        detail::add_item(out, std::move(item));
    }
    return out;
}

/// Makes `history` fit `layers` (bottom first) and gives every entry a time; `now` is the time of layers that
/// have none. A history that speaks of too many layers gets a sentence in `warnings`.
inline void normalise_history(std::vector<history_entry>& history, std::span<layer_blob const> layers,
                              timestamp now, std::vector<std::string>& warnings) {
    auto const time_of = [&](layer_blob const& layer) { return zoned_time{layer.created.value_or(now), 0}; };
    auto const known = static_cast<std::size_t>(
        std::count_if(history.begin(), history.end(), [](auto const& entry) { return !entry.empty_layer; }));

    if (known > layers.size()) {
        warnings.push_back("the history of the image configuration has " + std::to_string(known) +
                           " entries with a layer, the image has " + std::to_string(layers.size()) +
                           " layers; the entries beyond them are marked as empty");
        std::size_t seen = 0;
        for (auto& entry : history)
            if (!entry.empty_layer && ++seen > layers.size()) entry.empty_layer = true;
    }
    for (auto i = known; i < layers.size(); ++i)
        history.push_back(
            {.created = time_of(layers[i]),
             .created_by = layers[i].created_by.empty() ? "created by shiplap" : layers[i].created_by,
             .comment = "shiplap.exporter.image.v0"});

    auto layer = layers.begin();
    for (auto& entry : history) {
        if (entry.empty_layer) continue;
        if (!entry.created) entry.created = time_of(*layer);
        ++layer;
    }

    // What is left without a time are steps without a layer. They get the time of the first step that has one
    // after the first that has none (in an image on top of a base: not a time of the base), or else the last
    // time there is; from then on the time of the step before.
    std::optional<zoned_time> time;
    bool gap = false;
    for (auto const& entry : history) {
        if (!entry.created) {
            gap = true;
            continue;
        }
        time = entry.created;
        if (gap) break;
    }
    gap = false;
    for (auto& entry : history) {
        if (!entry.created) {
            gap = true;
            entry.created = time;
        } else if (gap) {
            time = entry.created;
        }
    }
}

/// Gives entries without a time, or with one after `epoch` (seconds since 1970), that time
/// (https://reproducible-builds.org/specs/source-date-epoch). What is still as in `base`, in the same place,
/// stays: a base image was made when it was made.
inline void clamp_history(std::vector<history_entry>& history, std::int64_t epoch,
                          std::span<history_entry const> base = {}) {
    timestamp const limit{epoch, 0};
    for (std::size_t i = 0; i < history.size(); ++i) {
        auto& created = history[i].created;
        bool const inherited = i < base.size() && created && history[i] == base[i];
        if (!inherited && (!created || created->at > limit)) created = zoned_time{limit, 0};
    }
}

} // namespace shiplap
