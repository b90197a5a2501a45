#pragma once
// The one check that all codecs with a level share.

#include <shiplap/codec/concept.hpp>
#include <shiplap/error.hpp>

#include <string>

namespace shiplap::detail {

/// Throws option_error unless the codec has the level that it was given.
template <class C>
void check_level(C const& how) {
    if (C::levels.contains(how.level)) return;
    throw option_error{"compression-level", std::to_string(how.level) + " is no level of " +
                                                std::string{C::name} + ": it must be between " +
                                                std::to_string(C::levels.lowest) + " and " +
                                                std::to_string(C::levels.highest)};
}

} // namespace shiplap::detail
