#pragma once
// certificates: which certificates a registry needs, from the folders where Docker and Podman look for them.
//
//     /etc/docker/certs.d/r.io:5000/ca.crt         *.crt          a further authority to trust
//                                   client.cert    X.cert, X.key  with which we prove who we are
//
// Of the folders for a host the first that can be read counts, and none is mixed with another.

#include <shiplap/error.hpp>
#include <shiplap/registry/url.hpp>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace shiplap {

/// Paths of PEM files that belong together.
struct client_certificate {
    std::string certificate, key;
    friend bool operator==(client_certificate const&, client_certificate const&) = default;
};

/// What a host needs beyond the system's store.
struct host_certificates {
    std::string folder{};                      ///< where the others were found; empty: nowhere
    std::vector<std::string> authorities{};    ///< paths of PEM files, sorted
    std::vector<client_certificate> clients{}; ///< sorted
};

/// Where folders named after hosts are looked for, the user's own before the system's.
inline std::vector<std::string> certificate_roots() {
    auto const from_environment = [](char const* name) {
        auto const* const value = std::getenv(name);
        return std::string{value == nullptr ? "" : value};
    };
    std::vector<std::string> roots;
    auto const home = from_environment("HOME");
    auto config = from_environment("XDG_CONFIG_HOME"); // Docker minds it, Podman does not
    if (config.empty() && !home.empty()) config = home + "/.config";
    if (!home.empty()) roots.push_back(home + "/.config/containers/certs.d");
    if (!config.empty()) roots.push_back(config + "/docker/certs.d");
    roots.emplace_back("/etc/containers/certs.d");
    roots.emplace_back("/etc/docker/certs.d");
    return roots;
}

namespace detail {

/// How a folder for this origin may be called.
inline std::vector<std::string> certificate_folder_names(origin const& of) {
    auto const host = of.host.find(':') == std::string::npos ? of.host : "[" + of.host + "]";
    std::vector<std::string> names{host + ":" + std::to_string(of.port)};
    if (of.authority() == host) names.push_back(host);
    return names;
}

inline void need_partner(std::string const& path, std::string const& partner, std::string_view what) {
    std::error_code ignored;
    if (!std::filesystem::exists(partner, ignored))
        throw error{error_code::not_found, "use", path,
                    std::string{what} + " is missing: expected '" + printable(partner) + "'"};
}

} // namespace detail

/// Certificates for an https origin, from the first folder there is among `roots`; empty for http. Throws
/// error (not_found) for a certificate without key, or a key without certificate.
inline host_certificates find_certificates(origin const& of,
                                           std::vector<std::string> const& roots = certificate_roots()) {
    host_certificates found;
    if (!of.is_https()) return found;
    std::vector<std::string> folders;
    for (auto const& root : roots)
        for (auto const& name : detail::certificate_folder_names(of)) {
            folders.push_back(root);
            folders.back().append("/").append(name);
        }
    for (auto const& folder : folders) {
        // What cannot be read is somebody else's: root's folders often are, and other places may serve us.
        std::error_code failed;
        std::filesystem::directory_iterator entries{folder, failed};
        if (failed) continue;
        found.folder = folder;
        for (auto const& entry : entries) {
            auto const& path = entry.path();
            if (path.extension() == ".crt") found.authorities.push_back(path.string());
            auto partner = path;
            if (path.extension() == ".cert") {
                detail::need_partner(path, partner.replace_extension(".key"), "the key of this certificate");
                found.clients.push_back({path.string(), partner.string()});
            } else if (path.extension() == ".key") {
                detail::need_partner(path, partner.replace_extension(".cert"), "the certificate of this key");
            }
        }
        std::ranges::sort(found.authorities);
        std::ranges::sort(found.clients, {}, &client_certificate::certificate);
        break;
    }
    return found;
}

} // namespace shiplap
