#pragma once
// location: where an answer sends us, if that is a place to go to.
//
// It is resolved against the address that was asked, and taken verbatim. From https it leads to https, and it names no
// user: who answers must not choose whose name we use. What lies on another origin gets no credentials; that is the
// transport's duty, which compares origins, as is a look at the address of its socket (address_rule::public_only).

#include <shiplap/error.hpp>
#include <shiplap/registry/error.hpp>
#include <shiplap/registry/http.hpp>
#include <shiplap/registry/url.hpp>

#include <optional>
#include <string>

namespace shiplap {

/// The Location of an answer to a request for `asked`; none if it has none. Throws registry_error for two of them, and
/// for one that must not be followed.
inline std::optional<url> location_of(url const& asked, http_response const& answer) {
    auto const refuse = [&](std::string const& reason) {
        return registry_error{"follow the answer to", asked.shown(), reason, {.http_status = answer.status}};
    };
    auto const given = answer.headers.all("Location");
    if (given.empty()) return std::nullopt;
    if (given.size() > 1) throw refuse("it sends us to two places at once (Location)");
    auto to = [&] {
        try {
            return asked.resolve(given.front());
        } catch (format_error const& failure) {
            throw refuse("the place that it sends us to (Location) is no web address: " +
                         printable(failure.reason()));
        }
    }();
    if (asked.from().is_https() && !to.from().is_https())
        throw refuse("it sends us from https to " + printable(to.from().text()) +
                     ", where anybody can listen");
    if (to.has_user()) throw refuse("the place that it sends us to (Location) names a user");
    return to;
}

/// For what is asked of `to` on behalf of a registry: a private address is the registry's own at most.
inline address_rule rule_for(url const& to, origin const& registry) {
    return to.from() == registry ? address_rule::any : address_rule::public_only;
}

} // namespace shiplap
