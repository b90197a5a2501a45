#pragma once
// push_target: where in registries an image goes, for whoever can make a sink of that.

#include <shiplap/image/reference.hpp>

#include <vector>

namespace shiplap {

struct push_target {
    std::vector<reference> names{};    ///< get their tags, and "latest" if they have none
    std::vector<reference> untagged{}; ///< repositories that get the image by its digest alone
    bool insecure = false;             ///< plain HTTP and any certificate are good enough
};

} // namespace shiplap
