#pragma once
// chain_id: the name of what a stack of layers unpacks to, whatever they are packed with (image-spec, config.md,
// "Layer ChainID").

#include <shiplap/digest/digest.hpp>

#include <span>

namespace shiplap {

/// The chain id of layers, bottom first. As in containerd a diff_id alone is its own chain id, and all others are
/// sha256, whatever the diff_ids are. No layers, for which the specification has none, have that of no bytes.
inline digest chain_id(std::span<digest const> diff_ids) {
    if (diff_ids.empty()) return digest::of<sha256>({});
    auto chain = diff_ids.front();
    for (auto const& layer : diff_ids.subspan(1))
        chain = digest::of<sha256>(as_bytes(chain.text() + " " + layer.text()));
    return chain;
}

} // namespace shiplap
