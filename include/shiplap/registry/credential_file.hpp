#pragma once
// credential_file: the files in which docker (config.json) and podman (auth.json) keep logins, and which of their
// entries belongs to a registry.
//
//     {"auths": {"r.io":      {"auth": "dXNlcjpwYXNzd29yZA=="},       base64 of user:password
//                "r.io/team": {"identitytoken": "..."},               podman: for repositories below team/
//                "https://index.docker.io/v1/": {}},                  Docker Hub; empty: the store has it
//      "credHelpers": {"gcr.io": "gcloud"}, "credsStore": "secretservice"}
//
// Keys are compared by host and port, in lower case: their scheme, the paths /v1/ and /v2/ and the port of the scheme
// do not count. All names of Docker Hub are one.

#include <shiplap/image/json_node.hpp>
#include <shiplap/registry/credential.hpp>
#include <shiplap/registry/credential_helper.hpp>

#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace shiplap {

namespace detail {

/// The names of Docker Hub in files, and that of its registry.
inline bool is_docker_hub(std::string_view host) noexcept {
    return host == "docker.io" || host == "index.docker.io" || host == "registry-1.docker.io";
}

/// A key of a file, or the registry and repository that one is looked for.
struct credential_key {
    std::string host; ///< "r.io:5000"; that of Docker Hub is "docker.io"
    std::string path; ///< "team/app", or empty

    static credential_key of(registry_access const& access) {
        auto host = access.registry.authority();
        // Its credentials are for everyone who can read the network, if it is asked without TLS.
        if (is_docker_hub(host) && access.registry.is_https()) host = "docker.io";
        return {std::move(host), access.repository};
    }

    static credential_key read(std::string_view text, origin const& registry) {
        for (std::string_view const scheme : {"https://", "http://"})
            if (text.starts_with(scheme)) text.remove_prefix(scheme.size());
        auto const slash = std::min(text.find('/'), text.size());
        std::string host{text.substr(0, slash)}, path{text.substr(std::min(slash + 1, text.size()))};
        for (auto& c : host)
            if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
        std::string_view const usual = registry.is_https() ? ":443" : ":80";
        if (host.ends_with(usual)) host.resize(host.size() - usual.size());
        if (is_docker_hub(host)) host = "docker.io";
        while (path.ends_with('/')) path.pop_back();
        if (path == "v1" || path == "v2") path.clear();
        return {std::move(host), std::move(path)};
    }

    /// Whether an entry under this key is for `wanted`.
    [[nodiscard]] bool covers(credential_key const& wanted) const {
        return host == wanted.host &&
               (path.empty() || wanted.path == path || wanted.path.starts_with(path + "/"));
    }
};

/// How docker names a registry to its helpers.
inline std::string helper_server(registry_access const& access) {
    auto const wanted = credential_key::of(access);
    if (wanted.host == "docker.io") return "https://index.docker.io/v1/";
    auto const written = credential_key::read(access.name, access.registry);
    return written.host == wanted.host && written.path.empty() ? access.name : wanted.host;
}

/// One entry of "auths"; an empty credential for an empty entry.
inline credential read_auth_entry(json_node const& entry, std::string const& file) {
    credential found;
    if (auto text = entry.text_of("auth"); !text.empty()) {
        auto plain = from_base64(text);
        auto const colon = plain ? plain->find(':') : std::string::npos;
        if (colon == std::string::npos) entry["auth"].refuse("is not the base64 of user:password");
        plain->resize(std::max(plain->find_last_not_of('\0') + 1, colon + 1)); // some writers pad with NUL
        found = credential_of(plain->substr(0, colon), plain->substr(colon + 1), file);
    } else {
        found = credential_of(entry.text_of("username"), entry.text_of("password"), file);
    }
    if (auto token = entry.text_of("identitytoken"); !token.empty())
        found.identity_token = secret{std::move(token)};
    if (auto token = entry.text_of("registrytoken"); !token.empty())
        found.registry_token = secret{std::move(token)};
    return found;
}

} // namespace detail

/// The credential that the text of such a file has for a registry, which may mean to ask a helper. `file` names it in
/// messages. In this order:
///   1. the entry with the longest path that leads to the repository
///   2. the helper for the host
///   3. the store
///   4. the entry of the host alone
/// Throws format_error for a text that is no such file, credential_error if the helper fails.
inline std::optional<credential> find_in_credential_file(std::string_view text, std::string const& file,
                                                         registry_access const& access,
                                                         environment const& env) {
    auto const document = detail::parse_secret_json(text, file);
    json_node const root{document, file};
    auto const wanted = detail::credential_key::of(access);

    credential best, of_host;
    std::size_t longest = 0;
    if (auto const auths = root["auths"])
        for (auto const& [key, value] : auths.object()) {
            auto const found = detail::credential_key::read(key, access.registry);
            if (!found.covers(wanted) || value.is_null()) continue;
            auto entry = detail::read_auth_entry(auths[key], file);
            if (entry.empty()) continue;
            if (found.path.size() > longest) {
                longest = found.path.size();
                best = std::move(entry);
            } else if (found.path.empty() && of_host.empty()) {
                of_host = std::move(entry);
            }
        }
    if (!best.empty()) return best;

    std::string helper;
    if (auto const helpers = root["credHelpers"])
        for (auto const& [key, value] : helpers.object())
            if (auto const found = detail::credential_key::read(key, access.registry);
                found.path.empty() && found.host == wanted.host)
                helper = helpers[key].text();
    if (helper.empty()) helper = root.text_of("credsStore");
    if (!helper.empty())
        if (auto found = ask_credential_helper(helper, detail::helper_server(access), env)) return found;
    return of_host.empty() ? std::nullopt : std::optional{std::move(of_host)};
}

} // namespace shiplap
