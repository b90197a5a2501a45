#pragma once
// compressor_pool: compressors are large and costly to make, so the blocks of an encoder lend them to each other. There
// are never more than blocks that are packed at the same time.

#include <mutex>
#include <optional>
#include <utility>
#include <vector>

namespace shiplap::detail {

/// `Make` is a callable without arguments. May be used on several threads at once.
template <class Make>
class compressor_pool {
  public:
    explicit compressor_pool(Make make) : make_{std::move(make)} {}

    /// What `action(compressor)` returns. If it throws, nobody gets that compressor again.
    template <class Action>
    auto lend(Action action) {
        auto mine = take();
        auto result = action(mine);
        std::lock_guard const lock{mutex_};
        idle_.push_back(std::move(mine));
        return result;
    }

  private:
    using compressor = decltype(std::declval<Make const&>()());

    compressor take() {
        {
            std::lock_guard const lock{mutex_};
            if (!idle_.empty()) {
                auto one = std::move(idle_.back());
                idle_.pop_back();
                return one;
            }
        }
        return make_();
    }

    Make make_;
    std::mutex mutex_;
    std::vector<compressor> idle_;
};

} // namespace shiplap::detail
