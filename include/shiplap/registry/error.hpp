#pragma once
// What can go wrong with a registry, and whether trying again may help.
//
//     try { push(); }
//     catch (remote_error const& failure) { return failure.facts().retryable ? 75 : 1; }

#include <shiplap/error.hpp>

#include <chrono>
#include <optional>
#include <string>
#include <utility>

namespace shiplap {

/// How a request ended that did not end well.
struct failure_facts {
    bool retryable = false;               ///< the same may succeed later
    unsigned attempts = 1;                ///< requests sent for it
    std::chrono::milliseconds elapsed{0}; ///< from the first attempt on
    int http_status = 0;                  ///< of the last answer; 0: there was none
    std::string registry_code{};          ///< "DENIED": distribution-spec, "Error Codes"; or empty
    std::string registry_message{};       ///< the registry's own words, or empty
    std::string request_id{}; ///< what the registry calls the request, for its operators; or empty
    std::optional<std::chrono::seconds> retry_after{}; ///< what the registry asked to wait
};

/// The base of what a registry or the way to it can do wrong.
class remote_error : public error {
  public:
    remote_error(error_code code, std::string operation, std::string subject, std::string reason,
                 failure_facts facts)
        : error{code, std::move(operation), std::move(subject), std::move(reason)},
          facts_{std::move(facts)} {}

    [[nodiscard]] failure_facts const& facts() const noexcept { return facts_; }

  private:
    failure_facts facts_;
};

/// The registry answered, and refused.
struct registry_error : remote_error {
    registry_error(std::string operation, std::string subject, std::string reason, failure_facts facts)
        : remote_error{error_code::registry, std::move(operation), std::move(subject), std::move(reason),
                       std::move(facts)} {}
};

/// What kept an answer from coming.
enum class transport_failure {
    resolve,           ///< the host's name has no address
    connect,           ///< nobody accepts connections there
    tls,               ///< the certificate or the handshake
    stall,             ///< nothing moved for too long
    cut,               ///< the connection ended in the middle, or the answer is none
    forbidden_address, ///< the address is private, and the request may not go there
    other,
};

/// No whole answer came.
class transport_error : public remote_error {
  public:
    transport_error(transport_failure kind, std::string operation, std::string subject, std::string reason,
                    failure_facts facts)
        : remote_error{error_code::network, std::move(operation), std::move(subject), std::move(reason),
                       std::move(facts)},
          kind_{kind} {}

    [[nodiscard]] transport_failure kind() const noexcept { return kind_; }

  private:
    transport_failure kind_;
};

} // namespace shiplap
