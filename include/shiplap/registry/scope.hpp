#pragma once
// scope: what a bearer token allows (distribution, "Token Scope Documentation").
//
//     repository:library/app:pull,push
//
// The name lies between the first colon and the last: it may have colons itself, as in r.io:5000/app.

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace shiplap {

namespace detail {

/// Calls `take` for what lies between the separators, unless that is empty.
template <class Take>
void each_part(std::string_view text, char separator, Take const& take) {
    while (!text.empty()) {
        auto const part = text.substr(0, text.find(separator));
        if (!part.empty()) take(part);
        text.remove_prefix(part.size() == text.size() ? part.size() : part.size() + 1);
    }
}

} // namespace detail

/// One scope for each resource, sorted, with all its actions, sorted: two lists that mean the same get equal. Each of
/// `scopes` may be several, with blanks in between, as challenges have them. What is no scope stays as it is.
inline std::vector<std::string> merged_scopes(std::vector<std::string> const& scopes) {
    std::map<std::string, std::set<std::string>, std::less<>> resources;
    auto const add = [&](std::string_view scope) {
        auto const last = scope.rfind(':');
        bool const whole = last != scope.npos && scope.find(':') != last;
        auto& actions = resources[std::string{whole ? scope.substr(0, last) : scope}];
        if (whole)
            detail::each_part(scope.substr(last + 1), ',',
                              [&](std::string_view action) { actions.emplace(action); });
    };
    for (auto const& one : scopes) detail::each_part(one, ' ', add);

    std::vector<std::string> merged;
    for (auto const& [resource, actions] : resources) {
        auto scope = resource;
        for (auto const& action : actions)
            scope.append(scope.size() == resource.size() ? ":" : ",").append(action);
        merged.push_back(std::move(scope));
    }
    return merged;
}

} // namespace shiplap
