#include <shiplap/registry/scope.hpp>

#include "support/catch.hpp"

using namespace shiplap;

TEST_CASE("scopes that mean the same get equal", "[scope]") {
    auto const [scopes, merged] = GENERATE(table<std::vector<std::string>, std::vector<std::string>>({
        {{}, {}},
        {{""}, {}},
        {{"repository:a:push,pull"}, {"repository:a:pull,push"}},
        {{"repository:a:push", "repository:a:pull", "repository:a:pull"}, {"repository:a:pull,push"}},
        {{"repository:b:pull", "repository:a:pull"}, {"repository:a:pull", "repository:b:pull"}},
        {{"repository:h:5000/a:pull", "repository:h:5000/a:,push,"}, {"repository:h:5000/a:pull,push"}},
        {{"registry:catalog:*"}, {"registry:catalog:*"}},
        {{"repository:a:pull  repository:b:pull", "repository:a:push "},
         {"repository:a:pull,push", "repository:b:pull"}},
        {{"odd", "a:b"}, {"a:b", "odd"}},
    }));
    CHECK(merged_scopes(scopes) == merged);
    CHECK(merged_scopes(merged) == merged);
}
