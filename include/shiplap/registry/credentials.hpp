#pragma once
// credentials: the logins that docker and podman have stored on this machine.
//
//   $DOCKER_AUTH_CONFIG                                  the text of a config.json itself
//   $REGISTRY_AUTH_FILE                                  a file
//   $DOCKER_CONFIG/config.json                           or ~/.docker/config.json
//   ${XDG_RUNTIME_DIR}/containers/auth.json              or /run/containers/UID/auth.json
//   ${XDG_CONFIG_HOME:-~/.config}/containers/auth.json
//
// They are asked in this order, and the first that has something for the registry decides; what a variable names thus
// comes before what merely lies around. A file that does not exist has nothing. One that cannot be read or is no JSON
// is an error: going on without it could mean a push as somebody else.
//
// Files are read each time that something is looked for, which happens once for a repository and its token, so that a
// login during a long push counts.

#include <shiplap/bytes/file.hpp>
#include <shiplap/registry/credential.hpp>
#include <shiplap/registry/credential_file.hpp>
#include <shiplap/registry/credential_helper.hpp>

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <unistd.h>

namespace shiplap {

/// See the table above.
class configured_credentials {
  public:
    /// As the environment of this process says now.
    configured_credentials() : configured_credentials{process_environment()} {}
    explicit configured_credentials(environment env) : env_{std::move(env)} {}

    [[nodiscard]] std::optional<credential> find(registry_access const& access) const {
        if (auto const text = value("DOCKER_AUTH_CONFIG"); !text.empty())
            if (auto found = find_in_credential_file(text, "$DOCKER_AUTH_CONFIG", access, env_)) return found;
        for (auto const& file : files()) {
            auto const text = text_of(file);
            if (text.find_first_not_of(" \t\r\n") == text.npos)
                continue; // as podman leaves it behind, at times
            if (auto found = find_in_credential_file(text, file, access, env_)) return found;
        }
        return {};
    }

    /// Where find() looks, in its order.
    [[nodiscard]] std::vector<std::string> places() const {
        auto found = files();
        if (!value("DOCKER_AUTH_CONFIG").empty()) found.insert(found.begin(), "$DOCKER_AUTH_CONFIG");
        return found;
    }

  private:
    [[nodiscard]] std::string value(std::string_view name) const {
        auto const found = env_.find(name);
        return found == env_.end() ? std::string{} : found->second;
    }

    [[nodiscard]] std::vector<std::string> files() const {
        std::vector<std::string> found;
        auto const home = value("HOME");
        auto const add = [&](std::string const& folder, std::string const& name) {
            if (!folder.empty()) found.push_back(folder + name);
        };
        // Of a variable or, without it, of a folder in the home directory.
        auto const folder = [&](std::string_view variable, std::string const& otherwise) {
            auto const named = value(variable);
            return named.empty() && !home.empty() ? home + otherwise : named;
        };
        auto const runtime = value("XDG_RUNTIME_DIR");
        add(value("REGISTRY_AUTH_FILE"), "");
        add(folder("DOCKER_CONFIG", "/.docker"), "/config.json");
        add(runtime.empty() ? "/run/containers/" + std::to_string(::getuid()) : runtime + "/containers",
            "/auth.json");
        add(folder("XDG_CONFIG_HOME", "/.config"), "/containers/auth.json");
        return found;
    }

    static std::string text_of(std::string const& file) {
        try {
            return read_file(file, max_document_size);
        } catch (system_error const& failure) {
            if (failure.number() == ENOENT || failure.number() == ENOTDIR) return {};
            throw;
        }
    }

    environment env_;
};

} // namespace shiplap
