#pragma once
// memory_store: blobs in a map. For tests, for small images, and as the shortest model of a blob_store.

#include <shiplap/error.hpp>
#include <shiplap/store/concept.hpp>

#include <map>
#include <string>

namespace shiplap {

class memory_store {
  public:
    class writer {
      public:
        explicit writer(memory_store& store) noexcept : store_{&store} {}
        void write(bytes_view in) { bytes_.append(as_text(in)); }
        void commit(content_facts const& facts) {
            store_->blobs_.insert_or_assign(facts.digest, std::move(bytes_));
        }

      private:
        memory_store* store_;
        std::string bytes_;
    };

    [[nodiscard]] writer open() noexcept { return writer{*this}; }

    [[nodiscard]] bool contains(digest const& which) const { return blobs_.contains(which); }

    /// The reader refers to this store and is valid as long as the blob is.
    [[nodiscard]] span_source reader(digest const& which) const {
        auto const found = blobs_.find(which);
        if (found == blobs_.end())
            throw error{error_code::not_found, "read blob", which.text(), "not in memory"};
        return span_source{found->second};
    }

    [[nodiscard]] std::map<digest, std::string> const& blobs() const noexcept { return blobs_; }

  private:
    std::map<digest, std::string> blobs_;
};

} // namespace shiplap
