#pragma once
// shared_authorization: what is sent as an Authorization header, for many threads, of which one at a time renews it.

#include <shiplap/error.hpp>
#include <shiplap/registry/credential.hpp>
#include <shiplap/registry/error.hpp>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <string>
#include <utility>

namespace shiplap {

namespace detail {

/// The value of an Authorization header, and until when.
struct authorization {
    using time = std::chrono::steady_clock::time_point;
    secret header{}; ///< empty: there is no credential, send nothing
    time renew_at = time::max(), ends_at = time::max();
    std::string user{};    ///< for messages
    bool is_fixed = false; ///< a password or token of the user, which nobody renews
};

/// The exception that is being handled, for several threads to throw: each a copy of its own, for who catches it may
/// add to its text.
template <class E, class... More>
std::function<void()> current_failure() {
    try {
        throw;
    } catch (E const& failure) {
        return [failure] { throw failure; };
    } catch (...) {
        if constexpr (sizeof...(More) != 0)
            return current_failure<More...>();
        else
            return [failure = std::current_exception()] { std::rethrow_exception(failure); };
    }
}

/// One authorization that many threads use and one at a time renews.
class shared_authorization {
  public:
    /// `serial` tells it from the ones before and after it; 0 is none.
    struct copy {
        authorization what{};
        std::uint64_t serial = 0;
    };

    /// The present one unless that is `refused`, or too old; else what `make` returns. Who finds another thread at it
    /// waits, and shares what comes of it, be it an exception.
    template <class Clock, class Make>
    copy get(std::uint64_t refused, Clock const& now, Make&& make) {
        std::unique_lock lock{mutex_};
        auto const usable = [&](authorization::time until) {
            return serial_ != 0 && serial_ != refused && now() < until;
        };
        if (usable(present_.renew_at)) return {present_, serial_};
        if (making_) {
            if (usable(present_.ends_at)) return {present_, serial_}; // the last fifth of its life
            auto const before = rounds_;
            done_.wait(lock, [&] { return rounds_ != before; });
            if (failure_) std::function<void()>{failure_}();
            return {present_, serial_};
        }
        making_ = true;
        lock.unlock();
        std::function<void()> failure;
        authorization made;
        try {
            made = make();
        } catch (...) {
            failure = current_failure<registry_error, transport_error, credential_error, format_error,
                                      system_error>();
        }
        lock.lock();
        making_ = false;
        ++rounds_;
        failure_ = failure;
        if (!failure) {
            replaced_refused_ = refused != 0;
            accepted_ = false;
            present_ = std::move(made);
            ++serial_;
        }
        done_.notify_all();
        if (failure && !usable(present_.ends_at)) failure();
        return {present_, serial_};
    }

    /// The registry took it.
    void accepted(std::uint64_t serial) {
        std::lock_guard lock{mutex_};
        if (serial == serial_) accepted_ = true;
    }
    /// Whether it came in the place of one that was refused, and was never taken itself.
    bool is_hopeless(std::uint64_t serial) {
        std::lock_guard lock{mutex_};
        return serial == serial_ && replaced_refused_ && !accepted_;
    }

  private:
    std::mutex mutex_;
    std::condition_variable done_;
    authorization present_;
    std::uint64_t serial_ = 0, rounds_ = 0;
    std::function<void()> failure_; ///< of the last round
    bool making_ = false, replaced_refused_ = false, accepted_ = false;
};

} // namespace detail

} // namespace shiplap
