#pragma once
// Who may do what: challenges, the token endpoint, and the check of what a request brings along.

#include <nlohmann/json.hpp>

#include <chrono>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <support/registry/core.hpp>

namespace registry_test {

using access_map = std::map<std::string, std::set<std::string>>; ///< repository to actions

/// What a request needs. A mount reads from its source, which is another repository.
inline access_map needed_access(core const& c, request_record const& request) {
    access_map needed;
    if (request.repository.empty()) return needed;
    auto& actions = needed[request.repository];
    switch (request.kind) {
    case request_kind::start_upload:
    case request_kind::mount:
    case request_kind::patch_upload:
    case request_kind::put_upload:
    case request_kind::upload_status:
    case request_kind::put_manifest:
        actions = {"pull", "push"};
        break;
    case request_kind::cancel_upload:
        actions = {"pull", "push"};
        if (c.how.cancel_needs_delete) actions.insert("delete");
        break;
    case request_kind::delete_blob:
    case request_kind::delete_manifest:
        actions = {"delete"};
        break;
    default:
        actions = {"pull"};
    }
    if (auto const from = query_value(request.query, "from");
        request.kind == request_kind::mount && !from.empty())
        needed[from].insert("pull");
    return needed;
}

inline std::string joined(std::set<std::string> const& words, char with) {
    std::string text;
    for (auto const& word : words) text += (text.empty() ? "" : std::string(1, with)) + word;
    return text;
}

inline reply unauthorized(core const& c, access_map const& needed, std::string const& error) {
    auto result = error_reply(c.how, 401, "UNAUTHORIZED", "authentication required");
    if (!c.how.challenges.empty()) {
        for (auto const& value : c.how.challenges)
            result.headers.emplace_back("WWW-Authenticate", c.placed(value));
        return result;
    }
    auto const& auth = c.how.auth;
    if (auth.mode != auth_mode::bearer) {
        result.headers.emplace_back("WWW-Authenticate", "Basic realm=\"" + auth.service + "\"");
        return result;
    }
    auto const& port = auth.realm_on_other_port ? c.other_port : c.main_port;
    auto text = "Bearer realm=\"" +
                (auth.realm.empty() ? "http://" + port.authority() + "/token" : c.placed(auth.realm)) +
                "\",service=\"" + auth.service + "\"";
    std::string scopes;
    for (auto const& [repository, actions] : needed)
        scopes += (scopes.empty() ? "" : " ") + ("repository:" + repository + ":" + joined(actions, ','));
    if (!scopes.empty()) text += ",scope=\"" + scopes + "\"";
    if (!error.empty()) text += ",error=\"" + error + "\"";
    result.headers.emplace_back("WWW-Authenticate", text);
    return result;
}

/// The user of `Basic`, when user and password are right.
inline bool is_right_basic(auth_settings const& auth, std::string const& header) {
    if (!starts_with_text(header, "Basic ")) return false;
    return base64_decoded(trimmed(std::string_view{header}.substr(6))) == auth.user + ":" + auth.password;
}

/// Nothing when the request may go on. With the mutex held.
inline std::optional<reply> refuse(core& c, request_record const& request) {
    if (request.other_port) return std::nullopt; // signed URLs speak for themselves
    auto const& auth = c.how.auth;
    auto const needed = needed_access(c, request);
    auto const header = request.header("Authorization");
    if (auth.mode == auth_mode::none && !header.empty() && c.check.rules.asked_for_credentials)
        c.check.note(request, "Authorization comes unasked");
    if (auth.mode == auth_mode::basic && !is_right_basic(auth, header)) return unauthorized(c, needed, "");
    if (auth.mode == auth_mode::bearer) {
        if (!starts_with_text(header, "Bearer ")) return unauthorized(c, needed, "");
        auto const token = std::string{trimmed(std::string_view{header}.substr(7))};
        if (!c.seen_tokens.contains(token)) c.check.note(request, "has a token that was not issued here");
        auto const found = c.tokens.find(token);
        if (found == c.tokens.end() || found->second.until < std::chrono::steady_clock::now())
            return unauthorized(c, needed, "invalid_token");
        for (auto const& [repository, actions] : needed)
            for (auto const& action : actions)
                if (!found->second.actions[repository].contains(action))
                    return unauthorized(c, needed, "insufficient_scope");
    }
    for (auto const& [repository, actions] : needed)
        if (c.how.denied_repositories.contains(repository))
            return error_reply(c.how, 403, "DENIED", "requested access to the resource is denied");
    auto const reads = request.method == "GET" || request.method == "HEAD";
    if (c.how.read_only && !reads && !request.repository.empty())
        return error_reply(c.how, c.how.read_only_status, "UNSUPPORTED", "this registry is read-only");
    return std::nullopt;
}

/// What is asked for, or nothing for a scope that is none. Names may have colons: host:port/name.
inline std::optional<access_map> parse_scopes(std::vector<std::string> const& scopes) {
    access_map access;
    for (auto const& scope : scopes) {
        auto const first = scope.find(':');
        auto const last = scope.rfind(':');
        if (first == last || scope.find_first_of(" \t") != std::string::npos) return std::nullopt;
        if (scope.substr(0, first) != "repository") continue; // "registry:catalog:*" is of no use here
        for (auto const& action : split(std::string_view{scope}.substr(last + 1), ','))
            access[scope.substr(first + 1, last - first - 1)].insert(action);
    }
    return access;
}

/// The answer with a new token.
inline reply token_reply(core& c, access_map access, bool anonymous, bool offline) {
    auto const& auth = c.how.auth;
    for (auto& [repository, actions] :
         access) // less than asked is granted without a word, as all services do
        if (anonymous && !auth.anonymous_push)
            std::erase_if(actions, [](auto const& one) { return one != "pull"; });
    auto const token = c.new_id("token-");
    c.tokens[token] = {std::move(access), std::chrono::steady_clock::now() + auth.lifetime};
    c.seen_tokens.insert(token);
    auto document = nlohmann::json::object();
    if (auth.names == token_names::token || auth.names == token_names::both) document["token"] = token;
    if (auth.names == token_names::access_token || auth.names == token_names::both)
        document["access_token"] = token;
    if (!auth.expires_in.empty()) document["expires_in"] = nlohmann::json::parse(auth.expires_in);
    if (offline) document["refresh_token"] = auth.refresh_token;
    return {.headers = {{"Content-Type", "application/json"}}, .body = document.dump()};
}

/// GET with Basic or without anything, POST as OAuth2 has it.
inline reply serve_token(core& c, exchange& x) {
    auto const post = x.record.method == "POST";
    auto const form = post ? parse_query(x.body.read_all()) : x.record.query;
    std::scoped_lock const lock{c.mutex};
    auto const& auth = c.how.auth;
    if (!auth.redirect.empty()) return {.status = 302, .headers = {{"Location", c.placed(auth.redirect)}}};
    if (auto const status = post ? auth.post_status : auth.get_status; status != 0)
        return error_reply(c.how, status, "UNSUPPORTED", "not in this way");
    if (!post && x.record.method != "GET") return error_reply(c.how, 405, "UNSUPPORTED", "GET or POST");

    if (query_value(form, "service") != auth.service) {
        c.check.note(x.record, "the service is not the one of the challenge, " + auth.service);
        return error_reply(c.how, 400, "UNSUPPORTED", "unknown service");
    }
    std::vector<std::string> scopes;
    for (auto const& [name, value] :
         form) // POST has one list with spaces; GET repeats the name, or has a list too
        if (name == "scope")
            for (auto const& one : split(value, ' ')) scopes.push_back(one);
    auto access = parse_scopes(scopes);
    if (!access) {
        c.check.note(x.record, "has a scope that is none");
        return error_reply(c.how, 400, "UNSUPPORTED", "invalid scope");
    }
    for (auto const& [repository, actions] : *access)
        if (auth.refused_scopes.contains(repository))
            return error_reply(c.how, 403, "DENIED", "no token for " + repository);

    auto const refused = [&] {
        return error_reply(c.how, 401, "UNAUTHORIZED", "incorrect username or password");
    };
    if (!post) {
        auto const header = x.record.header("Authorization");
        if (header.empty() && !auth.anonymous_tokens) return refused();
        if (!header.empty() && !is_right_basic(auth, header)) return refused();
        return token_reply(c, std::move(*access), header.empty(),
                           query_value(form, "offline_token") == "true");
    }
    if (query_value(form, "client_id").empty()) c.check.note(x.record, "client_id is missing");
    auto const grant = query_value(form, "grant_type");
    auto const known =
        (grant == "refresh_token" && query_value(form, "refresh_token") == auth.refresh_token) ||
        (grant == "password" && query_value(form, "username") == auth.user &&
         query_value(form, "password") == auth.password);
    if (!known) return refused();
    return token_reply(c, std::move(*access), false, query_value(form, "access_type") == "offline");
}

} // namespace registry_test
