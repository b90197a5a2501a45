#pragma once
// memory_store: blobs in a map. For tests, for small images, and as the shortest model of a blob_store.

#include <shiplap/error.hpp>
#include <shiplap/store/concept.hpp>

#include <map>
#include <memory>
#include <mutex>
#include <string>

namespace shiplap {

class memory_store {
    struct state {
        std::mutex mutex;
        std::map<digest, std::string> blobs;
    };

  public:
    class writer {
      public:
        explicit writer(state& store) noexcept : store_{&store} {}
        void write(bytes_view in) { bytes_.append(as_text(in)); }
        void commit(content_facts const& facts) {
            std::lock_guard const lock{store_->mutex};
            // Readers may refer to a blob that is there: it stays, and is the same.
            store_->blobs.try_emplace(facts.digest, std::move(bytes_));
        }

      private:
        state* store_;
        std::string bytes_;
    };

    [[nodiscard]] writer open() noexcept { return writer{*state_}; }

    [[nodiscard]] bool contains(digest const& which) const {
        std::lock_guard const lock{state_->mutex};
        return state_->blobs.contains(which);
    }

    /// The reader refers to this store and is valid as long as the store is.
    [[nodiscard]] span_source reader(digest const& which) const {
        std::lock_guard const lock{state_->mutex};
        auto const found = state_->blobs.find(which);
        if (found == state_->blobs.end())
            throw error{error_code::not_found, "read blob", which.text(), "not in memory"};
        return span_source{found->second};
    }

    /// All blobs; while nobody writes.
    [[nodiscard]] std::map<digest, std::string> const& blobs() const noexcept { return state_->blobs; }

  private:
    std::unique_ptr<state> state_ = std::make_unique<state>(); // stays where it is when the store is moved
};

} // namespace shiplap
