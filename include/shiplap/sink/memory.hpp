#pragma once
// memory_sink: an image in memory. For tests, and for programs that look at an image without writing it.

#include <shiplap/image/reference.hpp>
#include <shiplap/sink/concept.hpp>
#include <shiplap/store/memory.hpp>

#include <string>
#include <utility>
#include <vector>

namespace shiplap {

/// A storing_sink. What is packed or put can be read from store() at once; images() holds what was committed.
class memory_sink {
  public:
    struct named_image {
        descriptor root;
        image_name name; ///< empty: known by its digest only
    };

    [[nodiscard]] memory_store& store() noexcept { return store_; }
    [[nodiscard]] memory_store const& store() const noexcept { return store_; }

    /// Committed images, in the order in which they got their names. A name belongs to one image: the last
    /// one.
    [[nodiscard]] std::vector<named_image> const& images() const noexcept { return images_; }

    [[nodiscard]] bool exists(descriptor const& what) const {
        auto const found = store_.blobs().find(what.digest);
        return found != store_.blobs().end() && found->second.size() == what.size;
    }

    void put(descriptor const& what, replayable_source_ref from) {
        store_blob(store_, {what.digest, what.size}, from);
    }

    void tag(descriptor const& root, image_name const& name) { tagged_.push_back({root, name}); }

    void commit() {
        for (auto& image : std::exchange(tagged_, {})) {
            std::erase_if(images_, [&](named_image const& there) {
                return there.name == image.name &&
                       (image.name != image_name{} || there.root.digest == image.root.digest);
            });
            images_.push_back(std::move(image));
        }
    }

  private:
    memory_store store_;
    std::vector<named_image> tagged_, images_;
};

} // namespace shiplap
