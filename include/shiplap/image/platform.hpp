#pragma once
// platform: what an image runs on.

#include <string>
#include <vector>

namespace shiplap {

struct platform {
    std::string os, architecture, variant;
    std::string os_version;
    std::vector<std::string> os_features;
    friend bool operator==(platform const&, platform const&) = default;
};

} // namespace shiplap
