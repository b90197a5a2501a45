#include <shiplap/sink/push_target.hpp>

#include <support/catch.hpp>

using namespace shiplap;

TEST_CASE("a push target is empty and careful until it is told otherwise") {
    push_target const nowhere;
    CHECK(nowhere.names.empty());
    CHECK(nowhere.untagged.empty());
    CHECK_FALSE(nowhere.insecure);
}
