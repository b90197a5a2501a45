#pragma once
// The one check that all codecs with a level share.

#include <shiplap/codec/concept.hpp>
#include <shiplap/error.hpp>

#include <string>

namespace shiplap::detail {

/// Throws option_error unless the codec has the level that it was given.
template <class C>
void check_level(C const& how) {
    level_range const allowed = how.levels();
    if (allowed.contains(how.level)) return;
    std::string name{C::name};
    if constexpr (requires { how.backend.name; }) name += " by " + std::string{how.backend.name};
    throw option_error{"compression-level", std::to_string(how.level) + " is no level of " + name +
                                                ": it must be between " + std::to_string(allowed.lowest) +
                                                " and " + std::to_string(allowed.highest)};
}

} // namespace shiplap::detail
