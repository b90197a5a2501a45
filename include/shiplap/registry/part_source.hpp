#pragma once
// part_source: a piece of a blob, for one request of its upload.

#include <shiplap/bytes/concept.hpp>
#include <shiplap/bytes/erased.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>

namespace shiplap::detail {

/// A part of a source as a source of its own. Parts follow each other without reading anything twice.
class part_source {
  public:
    explicit part_source(replayable_source_ref from) : from_{from} {}

    void select(std::uint64_t begin, std::uint64_t size) {
        begin_ = begin;
        size_ = size;
        rewind();
    }

    void rewind() {
        if (at_ > begin_) {
            from_.rewind();
            at_ = 0;
        }
        at_ += skip(from_, begin_ - at_); // of one that ends before, the reader will find nothing
    }

    std::size_t read(bytes_span into) {
        auto const left = begin_ + size_ - at_;
        if (left < into.size()) into = into.first(static_cast<std::size_t>(left));
        if (into.empty()) return 0;
        auto const n = from_.read(into);
        at_ += n;
        return n;
    }

  private:
    replayable_source_ref from_;
    std::uint64_t begin_ = 0, size_ = 0, at_ = 0;
};

} // namespace shiplap::detail
