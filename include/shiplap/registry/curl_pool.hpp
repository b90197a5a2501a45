#pragma once
// curl_pool: channels with open connections, where they wait for their next request.

#include <shiplap/registry/certificates.hpp>
#include <shiplap/registry/curl_channel.hpp>
#include <shiplap/registry/curl_options.hpp>

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace shiplap::detail {

/// Channels that wait for their next request. Thread-safe.
class curl_pool {
  public:
    explicit curl_pool(curl_options options) : options_{std::move(options)} {}

    [[nodiscard]] curl_options const& options() const noexcept { return options_; }

    /// An idle channel if there is one, else a new one.
    std::unique_ptr<curl_channel> take(curl_key const& key) {
        {
            std::lock_guard const lock{mutex_};
            // The last one used: its connection is the least likely to have been closed.
            auto const found = std::find_if(idle_.rbegin(), idle_.rend(),
                                            [&](auto const& channel) { return channel->key() == key; });
            if (found != idle_.rend()) {
                auto channel = std::move(*found);
                idle_.erase(std::next(found).base());
                return channel;
            }
        }
        return make(key);
    }
    [[nodiscard]] std::unique_ptr<curl_channel> make(curl_key const& key) const {
        bool const verified = key.to.is_https() && options_.certificates;
        return std::make_unique<curl_channel>(key,
                                              verified ? options_.certificates(key.to) : host_certificates{});
    }
    void give_back(std::unique_ptr<curl_channel> channel) {
        std::unique_ptr<curl_channel> oldest; // closed without the lock
        std::lock_guard const lock{mutex_};
        if (idle_.size() == most_idle) {
            oldest = std::move(idle_.front());
            idle_.erase(idle_.begin());
        }
        idle_.push_back(std::move(channel));
    }

  private:
    static constexpr std::size_t most_idle = 32;

    curl_options const options_;
    std::mutex mutex_;
    std::vector<std::unique_ptr<curl_channel>> idle_; // the oldest first
};

} // namespace shiplap::detail
