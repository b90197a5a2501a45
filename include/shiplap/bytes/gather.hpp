#pragma once
// gather: a stage that turns many small writes (headers, small files) into few large ones, so that what comes
// behind it (hashing, write(2)) works in chunks of a good size. Large writes pass through without a copy.

#include <shiplap/bytes/concept.hpp>

#include <memory>
#include <utility>

namespace shiplap {

class gather {
  public:
    template <byte_sink Out>
    void write(bytes_view in, Out& out) {
        if (in.size() > transfer_size - used_) flush(out);
        if (in.size() >= transfer_size / 2) {
            flush(out);
            out.write(in);
            return;
        }
        if (in.empty()) return;
        std::memcpy(buffer_.get() + used_, in.data(), in.size());
        used_ += in.size();
    }

    template <byte_sink Out>
    void finish(Out& out) {
        flush(out);
    }

  private:
    template <byte_sink Out>
    void flush(Out& out) {
        if (used_ == 0) return;
        auto const held = std::exchange(used_, std::size_t{0});
        out.write(bytes_view{buffer_.get(), held});
    }

    std::unique_ptr<std::byte[]> buffer_ = std::make_unique_for_overwrite<std::byte[]>(transfer_size);
    std::size_t used_ = 0;
};

} // namespace shiplap
