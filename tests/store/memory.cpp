#include <shiplap/store/memory.hpp>

#include "store/properties.hpp"
#include "support/catch.hpp"

TEST_CASE("memory_store is a blob store", "[store]") {
    samples::check_store(shiplap::memory_store{});
}
