#pragma once
// Catch2 2.13 (Debian 12) and 3.x behind one include.

#include <string>

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>

/// Matches a text that has `part` somewhere.
inline auto contains(std::string const& part) {
    return Catch::Matchers::ContainsSubstring(part);
}
#else
#include <catch2/catch.hpp>

/// Matches a text that has `part` somewhere.
inline auto contains(std::string const& part) {
    return Catch::Matchers::Contains(part);
}
#endif
