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
        auto blocks = std::string(padding_, '\0') + encode_header(next);
        out_->write(as_bytes(blocks));
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
    std::string name_; // of the current entry
    std::uint64_t remaining_ = 0;
    std::size_t padding_ = 0;
};

} // namespace shiplap
