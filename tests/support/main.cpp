// Catch2's main(), once for all test programs. Catch2 3 brings its own in a library, Catch2 2 makes it here.

#if !__has_include(<catch2/catch_all.hpp>)
#define CATCH_CONFIG_MAIN
#endif
#include "support/catch.hpp"
