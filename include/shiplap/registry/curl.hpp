#pragma once
// All that needs libcurl: the registry folder in one include; and what most programs want of it:
//
//     curl_registries registries;
//     exporter out{gzip{}, oci_media_types{}, sha256{}, registries.sink({reference::parse("r.io/app:1")})};
//     auto from = registries.source(reference::parse("r.io/app:1"));
//
// An env with a member `registries` lets export_image() push.

#include <shiplap/registry/address.hpp>
#include <shiplap/registry/attempts.hpp>
#include <shiplap/registry/authenticated.hpp>
#include <shiplap/registry/certificates.hpp>
#include <shiplap/registry/challenge.hpp>
#include <shiplap/registry/concept.hpp>
#include <shiplap/registry/credential.hpp>
#include <shiplap/registry/credential_file.hpp>
#include <shiplap/registry/credential_helper.hpp>
#include <shiplap/registry/credentials.hpp>
#include <shiplap/registry/curl_channel.hpp>
#include <shiplap/registry/curl_failure.hpp>
#include <shiplap/registry/curl_options.hpp>
#include <shiplap/registry/curl_pool.hpp>
#include <shiplap/registry/curl_proxy.hpp>
#include <shiplap/registry/curl_transfer.hpp>
#include <shiplap/registry/curl_transport.hpp>
#include <shiplap/registry/error.hpp>
#include <shiplap/registry/hosts.hpp>
#include <shiplap/registry/http.hpp>
#include <shiplap/registry/journal.hpp>
#include <shiplap/registry/known_repositories.hpp>
#include <shiplap/registry/layer_encoding.hpp>
#include <shiplap/registry/location.hpp>
#include <shiplap/registry/manifest_document.hpp>
#include <shiplap/registry/part_source.hpp>
#include <shiplap/registry/refusal.hpp>
#include <shiplap/registry/repository.hpp>
#include <shiplap/registry/request_body.hpp>
#include <shiplap/registry/response_head.hpp>
#include <shiplap/registry/retry.hpp>
#include <shiplap/registry/scope.hpp>
#include <shiplap/registry/shared_authorization.hpp>
#include <shiplap/registry/sink.hpp>
#include <shiplap/registry/store.hpp>
#include <shiplap/registry/token.hpp>
#include <shiplap/registry/upload.hpp>
#include <shiplap/registry/upload_manifest.hpp>
#include <shiplap/registry/upload_session.hpp>
#include <shiplap/registry/url.hpp>
#include <shiplap/sink/push_target.hpp>
#include <shiplap/version.hpp>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace shiplap {

struct curl_registries_options {
    curl_options network{};
    retry_policy retries{};
    /// See steady_pauses.
    std::function<void(remote_error const&, std::chrono::milliseconds)> retry_notice{};
    bool insecure = false;      ///< see registry_options
    unsigned transfers = 4;     ///< at once, for each sink
    std::string state_folder{}; ///< see registry_options
};

/// Ways to registries that share connections, logins, and the knowledge of who has which blob. Copies share them, too.
class curl_registries {
  public:
    using transport_type = retrying<authenticated<curl_transport>>;

    explicit curl_registries(curl_registries_options options = {})
        : options_{with_user_agent(std::move(options))},
          known_{std::make_shared<known_repositories>(options_.state_folder)},
          over_{authenticated{curl_transport{options_.network}}, options_.retries,
                steady_pauses{options_.network.heartbeat, options_.retry_notice}} {}

    /// Pushes to all `names`. What is left open in `how` is as these options say.
    [[nodiscard]] registry_sink<transport_type> sink(std::vector<reference> const& names,
                                                     registry_options how = {}) const {
        how.insecure |= options_.insecure;
        how.transfers = options_.transfers;
        if (how.state_folder.empty()) how.state_folder = options_.state_folder;
        if (!how.known) how.known = known_;
        return {over_, names, std::move(how)};
    }

    /// The same, for export_image().
    [[nodiscard]] registry_sink<transport_type> sink(push_target const& to) const {
        return sink(to.names, {.insecure = to.insecure, .untagged = to.untagged});
    }

    /// Pulls from the repository of `name`.
    [[nodiscard]] registry_store<transport_type> source(reference const& name) const {
        return {over_, name, options_.insecure, known_};
    }

    /// One repository, endpoint by endpoint. These registries must outlive it.
    [[nodiscard]] repository<transport_type> at(reference const& name) {
        return {over_, host_of(name.domain(), options_.insecure), name.path()};
    }

  private:
    static curl_registries_options with_user_agent(curl_registries_options options) {
        if (options.network.user_agent.empty())
            options.network.user_agent = std::string{"shiplap/"} + version;
        return options;
    }

    curl_registries_options options_;
    std::shared_ptr<known_repositories> known_;
    transport_type over_;
};

} // namespace shiplap
