#pragma once
// layer_blob: all that an image needs to know about a layer that is packed: what pack() returns and what
// assemble() takes.

#include <shiplap/codec/concept.hpp>
#include <shiplap/digest/tap.hpp>
#include <shiplap/tar/entry.hpp>

#include <optional>
#include <string>
#include <vector>

namespace shiplap {

struct layer_blob {
    content_facts blob;           ///< digest and size of the bytes as they are stored and sent
    digest diff_id;               ///< digest of the uncompressed tar (image-spec, config.md, "Layer DiffID")
    std::string encoding{};       ///< of the blob: "", "gzip", "zstd"; see codec
    annotation_map annotations{}; ///< for its descriptor
    std::string created_by{};     ///< for the history; empty: "created by shiplap"
    std::optional<timestamp> created{}; ///< for the history; none: the time of the export
    bool distributable = true;          ///< false for a layer that registries do not take (layer.md)
    std::vector<std::string> urls{};    ///< where else the blob can be had
    bool only_named = false;            ///< not to be had here: stays where `urls` say
    bool is_remote = false;             ///< reading the blob is a download
};

} // namespace shiplap
