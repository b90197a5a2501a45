#pragma once
// The version of shiplap, in one place: CMake and pkg-config read it from here.

#define SHIPLAP_VERSION_MAJOR 0
#define SHIPLAP_VERSION_MINOR 1
#define SHIPLAP_VERSION_PATCH 0

namespace shiplap {

/// Semantic version of these headers, as "major.minor.patch".
inline constexpr char version[] = "0.1.0";

} // namespace shiplap
