#pragma once
// authenticated: a transport that logs in.
//
//     authenticated registry{curl_transport{}};                      // with the logins stored on this machine
//     authenticated other{curl_transport{}, fixed_credentials{where, {"me", secret{"x"}}}};
//
// Only requests to the registry itself (request.access.registry) are touched: what goes elsewhere, after a redirect or
// to the upload address of another host, is passed on as it is, and a 401 from there is an answer like any other.
//
// The first request goes out bare, and others wait for its answer, unless it has a body. What the registry wants is
// learned from its 401; from then on, requests carry their token at once. Tokens are kept for each repository and set
// of scopes, and renewed when four fifths of their life have passed. However many threads want the same one, one asks
// for it and the others wait.
//
// A 401 in spite of a token renews it once and sends the request again, if that is repeatable. If it is not, the 401
// is returned, and who sends it again will do so with the new token. What is refused then is an error.

#include <shiplap/error.hpp>
#include <shiplap/registry/challenge.hpp>
#include <shiplap/registry/concept.hpp>
#include <shiplap/registry/credential.hpp>
#include <shiplap/registry/credentials.hpp>
#include <shiplap/registry/scope.hpp>
#include <shiplap/registry/shared_authorization.hpp>
#include <shiplap/registry/token.hpp>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace shiplap {

namespace detail {

/// What a registry asks for.
struct login_method {
    std::optional<url> realm{}; ///< of a token service; none: the Basic scheme
    std::string service{};
};

} // namespace detail

/// See the top of this file. Copies share what they know. Throws, on top of what T throws: registry_error with the
/// status 401 or 403 if the registry or its token service does not accept the login, what credential sources throw,
/// and format_error for challenges that cannot be read.
template <transport T, credential_source C = configured_credentials>
class authenticated {
  public:
    using clock = std::function<std::chrono::steady_clock::time_point()>;

    explicit authenticated(T through, C credentials = C{}, clock now = std::chrono::steady_clock::now)
        : shared_{std::make_shared<shared>(std::move(through), std::move(credentials), std::move(now))} {}

    http_response send(http_request const& request) {
        auto const& access = request.access;
        if (request.target.from() != access.registry || request.headers.find("Authorization") != nullptr)
            return shared_->through.send(request);

        probe first{*shared_};
        auto const used = known(request, first);
        auto response = send_with(request, used);
        if (response.status != 401) {
            first.found_open();
            return response;
        }
        auto const offered = challenges_of(response, access);
        auto const words = read_text(response, max_document);
        auto const* const chosen = choose(offered);
        if (chosen == nullptr) {
            if (!offered.empty())
                throw detail::authentication_failure(
                    access,
                    "it wants the scheme '" + printable(offered.front().scheme) + "', which is not known",
                    401);
            response.body = any_byte_source{text_source{words}};
            return response;
        }
        auto const fresh = learn(access, *chosen, used, words);
        if (!request.repeatable) {
            response.body = any_byte_source{text_source{words}};
            return response;
        }
        response = send_with(request, fresh);
        if (response.status == 401) throw turned_down(access, fresh, response);
        return response;
    }

  private:
    static constexpr std::size_t max_document = 64 * 1024;

    /// An authorization in use.
    struct grant {
        std::shared_ptr<detail::shared_authorization> from{}; ///< null: none was asked for
        detail::shared_authorization::copy now{};
        std::vector<std::string> scopes{};
    };

    using authorization_key =
        std::tuple<origin, std::string, std::string, std::string, std::vector<std::string>>;
    struct shared {
        shared(T t, C c, clock n) : through{std::move(t)}, credentials{std::move(c)}, now{std::move(n)} {}
        T through;
        C credentials;
        clock now;
        std::mutex mutex; ///< of all below
        std::condition_variable probe_ended;
        std::set<origin> probed{},
            open{}; ///< the first request is on its way; it was answered without a login
        std::map<origin, detail::login_method> methods{};
        /// What a challenge named on top of the scopes that were asked for.
        std::map<std::tuple<origin, std::string, std::vector<std::string>>, std::vector<std::string>>
            more_scopes{};
        std::map<authorization_key, std::shared_ptr<detail::shared_authorization>> authorizations{};
    };

    /// The first request to a registry: ends with what tells the others how to go on.
    class probe {
      public:
        explicit probe(shared& in) : in_{in} {}
        probe(probe const&) = delete;
        probe& operator=(probe const&) = delete;
        ~probe() {
            if (!where_) return;
            {
                std::lock_guard lock{in_.mutex};
                in_.probed.erase(*where_);
            }
            in_.probe_ended.notify_all();
        }
        /// False if another one is on its way. Under the lock.
        bool start(origin const& where) {
            if (in_.probed.insert(where).second) where_ = where;
            return where_.has_value();
        }
        void found_open() {
            if (!where_) return;
            std::lock_guard lock{in_.mutex};
            in_.open.insert(*where_);
        }

      private:
        shared& in_;
        std::optional<origin> where_{};
    };

    static std::vector<challenge> challenges_of(http_response const& response,
                                                registry_access const& access) {
        try {
            return parse_challenges(response.headers);
        } catch (format_error const& failure) {
            throw detail::authentication_failure(
                access, "what it wants cannot be understood: " + printable(failure.reason()), 401);
        }
    }

    static challenge const* choose(std::vector<challenge> const& offered) {
        for (auto const& one : offered)
            if (one.scheme == "bearer" && one.find("realm") != nullptr) return &one;
        for (auto const& one : offered)
            if (one.scheme == "basic") return &one;
        return nullptr;
    }

    http_response send_with(http_request const& request, grant const& used) {
        auto const& header = used.now.what.header;
        if (header.empty()) return shared_->through.send(request);
        auto copy = request;
        copy.headers.set("Authorization", header.reveal());
        auto response = shared_->through.send(copy);
        if (response.status != 401) used.from->accepted(used.now.serial);
        return response;
    }

    /// What earlier answers of the registry say that a request needs.
    grant known(http_request const& request, probe& first) {
        auto const& access = request.access;
        std::unique_lock lock{shared_->mutex};
        auto method = shared_->methods.find(access.registry);
        while (method == shared_->methods.end()) {
            if (request.body || shared_->open.contains(access.registry) || first.start(access.registry))
                return {};
            shared_->probe_ended.wait(lock);
            method = shared_->methods.find(access.registry);
        }
        auto scopes = merged_scopes(access.scopes);
        auto const more = shared_->more_scopes.find({access.registry, access.repository, scopes});
        if (more != shared_->more_scopes.end()) scopes = more->second;
        auto const copy = method->second;
        lock.unlock();
        return acquire(access, copy, std::move(scopes), 0);
    }

    /// After a 401: notes what is wanted and gets it.
    grant learn(registry_access const& access, challenge const& wanted, grant const& used,
                std::string const& words) {
        detail::login_method method;
        auto scopes = merged_scopes(access.scopes);
        auto const asked = scopes;
        if (wanted.scheme == "bearer") {
            method = {detail::realm_of(wanted, access), wanted.get("service")};
            scopes.push_back(wanted.get("scope"));
            scopes = merged_scopes(scopes);
            if (used.from && used.scopes == scopes && wanted.get("error") == "insufficient_scope")
                throw not_granted(access, used, words);
        }
        {
            std::lock_guard lock{shared_->mutex};
            shared_->methods.insert_or_assign(access.registry, method);
            if (scopes != asked)
                shared_->more_scopes.insert_or_assign({access.registry, access.repository, asked}, scopes);
        }
        auto const again = entry(access, method, scopes);
        bool const is_used = used.from == again;
        if (is_used && again->is_hopeless(used.now.serial)) throw refused(access, used, words);
        auto fresh = acquire(access, method, std::move(scopes), is_used ? used.now.serial : 0);
        if (fresh.now.what.header.empty()) throw login_missing(access);
        if (is_used && fresh.now.what.is_fixed && fresh.now.what.header == used.now.what.header)
            throw refused(access, used, words); // the same password would be refused again
        return fresh;
    }

    std::shared_ptr<detail::shared_authorization> entry(registry_access const& access,
                                                        detail::login_method const& method,
                                                        std::vector<std::string> const& scopes) {
        std::lock_guard lock{shared_->mutex};
        auto& found =
            shared_->authorizations[method.realm
                                        ? authorization_key{access.registry, access.repository,
                                                            method.realm->text(), method.service, scopes}
                                        : authorization_key{access.registry, access.repository, {}, {}, {}}];
        if (!found) found = std::make_shared<detail::shared_authorization>();
        return found;
    }

    grant acquire(registry_access const& access, detail::login_method const& method,
                  std::vector<std::string> scopes, std::uint64_t refused) {
        auto from = entry(access, method, scopes);
        auto now = from->get(refused, shared_->now, [&] { return make(access, method, scopes); });
        return {std::move(from), std::move(now), std::move(scopes)};
    }

    detail::authorization make(registry_access const& access, detail::login_method const& method,
                               std::vector<std::string> const& scopes) {
        auto const who = shared_->credentials.find(access);
        detail::authorization made;
        made.is_fixed = true;
        if (who) made.user = who->user;
        if (who && !who->registry_token.empty()) {
            made.header = secret{"Bearer " + who->registry_token.reveal()};
        } else if (method.realm) {
            made.is_fixed = false;
            auto const start = shared_->now(); // a token may be older than its answer, never younger
            auto const token =
                fetch_token(shared_->through, access, {*method.realm, method.service, scopes}, who);
            made.header = secret{"Bearer " + token.value.reveal()};
            made.renew_at = start + token.lifetime * 4 / 5;
            made.ends_at = start + token.lifetime;
        } else if (who && !who->user.empty()) {
            made.header = secret{detail::basic_authorization(*who)};
        }
        return made;
    }

    static std::string user_of(grant const& used) {
        auto const& user = used.now.what.user;
        return user.empty() ? " (without a user name)" : " (as user '" + printable(user) + "')";
    }

    /// Though it was given what it had asked for.
    registry_error turned_down(registry_access const& access, grant const& used, http_response& response) {
        auto const offered = challenges_of(response, access);
        auto const* const chosen = choose(offered);
        auto const words = read_text(response, max_document);
        if (chosen != nullptr && chosen->get("error") == "insufficient_scope")
            return not_granted(access, used, words);
        return refused(access, used, words);
    }

    /// The token service knows the user, and gives out tokens that allow less than was asked for.
    static registry_error not_granted(registry_access const& access, grant const& used,
                                      std::string const& words) {
        auto const& user = used.now.what.user;
        auto const login = "'docker login " + detail::registry_name(access) + "'";
        auto reason = "access to '" + printable(access.repository) + "' is denied ";
        reason += user.empty() ? "without a login: use " + login
                               : "to the user '" + printable(user) + "': check the name, or use " + login +
                                     " to be somebody else";
        return detail::authentication_failure(access, std::move(reason), 401, words);
    }

    registry_error refused(registry_access const& access, grant const& used, std::string const& words) {
        auto const name = detail::registry_name(access);
        auto const& header = used.now.what.header.reveal();
        bool const gives_away = words.find(header.substr(header.find(' ') + 1)) != std::string::npos;
        return detail::authentication_failure(access,
                                              "it does not accept the login" + user_of(used) +
                                                  ": log in with 'docker login " + name +
                                                  "', or check the password",
                                              401, gives_away ? std::string{} : words);
    }

    registry_error login_missing(registry_access const& access) {
        auto reason =
            "it wants a login, and there is none: use 'docker login " + detail::registry_name(access) + "'";
        if constexpr (requires(C const& source) { source.places(); }) {
            std::string places;
            for (auto const& place : shared_->credentials.places())
                places += (places.empty() ? "" : ", ") + place;
            if (!places.empty()) reason += " (looked in " + printable(places) + ")";
        }
        return detail::authentication_failure(access, std::move(reason), 401);
    }

    std::shared_ptr<shared> shared_;
};

} // namespace shiplap
