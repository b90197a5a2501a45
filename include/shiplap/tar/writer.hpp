#pragma once
// tar_writer: pushes entries and their payloads into a byte_sink as a tar archive.
//
//     tar_writer tar{out};
//     tar.entry({.name = "etc/hostname", .mode = 0644, .size = 4});
//     tar.write(as_bytes("box\n"));
//     tar.finish();
//
// The bytes depend on the entries and payloads alone, not on how payloads are cut into writes: headers as
// encode.hpp describes them, two zero blocks at the end and no further padding.

#include <shiplap/bytes/concept.hpp>
#include <shiplap/tar/encode.hpp>

#include <algorithm>
#include <cstdint>
#include <string>

namespace shiplap {

template <byte_sink Out>
class tar_writer {
  public:
    /// Writes into `out`, which outlives the writer.
    explicit tar_writer(Out& out) noexcept : out_{&out} {}

    /// Starts an entry. Throws format_error if it cannot be encoded or if payload of the one before is
    /// missing.
    void entry(tar_entry const& next) {
        complete();
        blocks_.assign(padding_, '\0');
        append_header(blocks_, next);
        out_->write(as_bytes(blocks_));
        name_ = next.name;
        remaining_ = next.size;
        padding_ = tar_padding(next.size);
    }

    /// The next bytes of the entry's payload. Throws format_error if they are more than its size.
    void write(bytes_view payload) {
        if (payload.size() > remaining_)
            throw format_error{"write tar", name_,
                               "has " + std::to_string(payload.size() - remaining_) +
                                   " bytes more than its size"};
        if (payload.empty()) return;
        out_->write(payload);
        remaining_ -= payload.size();
    }

    /// The entry's payload, or what is missing of it, read from `from`: into the memory of the sink where that lends
    /// some, else through `space`. Throws format_error if `from` ends before.
    template <byte_source From>
    void payload(From& from, bytes_span space) {
        while (remaining_ != 0) {
            bytes_span room{};
            if constexpr (lending_sink<Out>) room = out_->room();
            bool const lent = !room.empty();
            if (!lent) room = space;
            auto const n = from.read(room.first(
                static_cast<std::size_t>(std::min(remaining_, static_cast<std::uint64_t>(room.size())))));
            if (n == 0) complete();
            remaining_ -= n;
            if constexpr (lending_sink<Out>)
                if (lent) {
                    out_->filled(n);
                    continue;
                }
            out_->write(room.first(n));
        }
    }

    /// Ends the archive. Call once, after the last entry; throws format_error if payload is missing.
    void finish() {
        complete();
        out_->write(as_bytes(std::string(padding_ + 2 * tar_block_size, '\0')));
        padding_ = 0;
    }

  private:
    void complete() const {
        if (remaining_ != 0)
            throw format_error{"write tar", name_,
                               "has " + std::to_string(remaining_) + " bytes less than its size"};
    }

    Out* out_;
    std::string name_;   // of the current entry
    std::string blocks_; // kept for its memory
    std::uint64_t remaining_ = 0;
    std::size_t padding_ = 0;
};

} // namespace shiplap
