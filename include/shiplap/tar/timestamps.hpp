#pragma once
// Timestamp policies: entry time -> entry time, a pure function. Applied to the mtime of every entry that is
// packed, whiteouts excepted (theirs is 0). Models: keep_timestamps, clamp_timestamps.
//
// A policy that takes notes of the entries has a member rule(), a timestamps_ref to the bare function, for the
// other times that an archive holds.

#include <shiplap/tar/entry.hpp>

#include <concepts>
#include <optional>
#include <type_traits>

namespace shiplap {

template <class P>
concept timestamp_policy = requires(P const& policy, timestamp time) {
    { policy(time) } -> std::same_as<timestamp>;
};

/// A policy that can tell beforehand that it changes nothing, so that an archive may pass unparsed.
template <class P>
concept tells_if_it_keeps = timestamp_policy<P> && requires(P const& policy) {
    { policy.keeps() } -> std::same_as<bool>;
};

/// A policy that lets no time pass that is later than a limit. Layers packed under it are annotated with the limit.
template <class P>
concept limits_times = timestamp_policy<P> && requires(P const& policy) {
    { policy.latest() } -> std::same_as<std::optional<timestamp>>;
};

/// Entries keep the time that their source has.
struct keep_timestamps {
    timestamp operator()(timestamp time) const noexcept { return time; }
    static constexpr bool keeps() noexcept { return true; }
};

/// Times later than `epoch` become `epoch`; earlier ones stay
/// (https://reproducible-builds.org/specs/source-date-epoch).
struct clamp_timestamps {
    timestamp epoch;
    timestamp operator()(timestamp time) const noexcept { return time > epoch ? epoch : time; }
    [[nodiscard]] std::optional<timestamp> latest() const noexcept { return epoch; }
};

/// A reference to any timestamp_policy. Default: keeps times.
class timestamps_ref {
  public:
    timestamps_ref() noexcept
        : object_{nullptr},
          call_{[](void const*, timestamp time) { return time; }},
          rule_call_{call_},
          keeps_{true} {}

    template <timestamp_policy P>
        requires(!std::same_as<std::remove_cv_t<P>, timestamps_ref>)
    timestamps_ref(P const& policy)
    noexcept // NOLINT(google-explicit-constructor): a reference, as P const& would be
        : object_{&policy},
          call_{[](void const* object, timestamp time) { return (*static_cast<P const*>(object))(time); }} {
        if constexpr (tells_if_it_keeps<P>) keeps_ = policy.keeps();
        if constexpr (limits_times<P>) latest_ = policy.latest();
        rule_object_ = object_;
        rule_call_ = call_;
        if constexpr (requires { policy.rule(); }) {
            timestamps_ref const rule = policy.rule();
            rule_object_ = rule.object_;
            rule_call_ = rule.call_;
        }
    }

    timestamp operator()(timestamp time) const { return call_(object_, time); }
    /// True if it is known that every time stays as it is.
    [[nodiscard]] bool keeps() const noexcept { return keeps_; }
    /// The same function, for times that are not an entry's mtime: nobody takes note of them.
    [[nodiscard]] timestamps_ref rule() const noexcept {
        auto bare = *this;
        bare.object_ = rule_object_;
        bare.call_ = rule_call_;
        return bare;
    }
    /// The limit of a policy that has one.
    [[nodiscard]] std::optional<timestamp> latest() const noexcept { return latest_; }

  private:
    void const* object_;
    timestamp (*call_)(void const*, timestamp);
    void const* rule_object_ = nullptr;
    timestamp (*rule_call_)(void const*, timestamp) = nullptr;
    bool keeps_ = false;
    std::optional<timestamp> latest_;
};

} // namespace shiplap
