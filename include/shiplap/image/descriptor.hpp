#pragma once
// descriptor: the one currency. Every write yields one, every copy is driven by one (image-spec,
// descriptor.md).

#include <shiplap/codec/concept.hpp>
#include <shiplap/digest/digest.hpp>
#include <shiplap/image/platform.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace shiplap {

struct descriptor {
    std::string media_type;
    shiplap::digest digest;
    std::uint64_t size = 0; ///< bytes
    annotation_map annotations;
    std::vector<std::string> urls;
    std::optional<shiplap::platform> platform;
    std::string artifact_type;
    std::string data; ///< the content itself as base64, or empty
    friend bool operator==(descriptor const&, descriptor const&) = default;
};

} // namespace shiplap
