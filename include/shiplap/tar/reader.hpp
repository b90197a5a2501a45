#pragma once
// tar_reader: pulls entries and their payloads out of a byte_source that holds a tar archive.
//
//     tar_reader tar{source, "layer.tar"};
//     while (auto const* entry = tar.next())
//         for (std::size_t n; (n = tar.read(buffer)) != 0;) ...
//
// What archives it reads and refuses: see scanner.hpp. The source is read to its end, also behind the
// archive's end marker, before next() says that there is no more: so a source that verifies a digest at its
// end has done so.

#include <shiplap/bytes/concept.hpp>
#include <shiplap/tar/scanner.hpp>

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

namespace shiplap {

template <byte_source R>
class tar_reader {
  public:
    /// Reads from `source`, which outlives the reader; `subject` names the archive in messages.
    tar_reader(R& source, std::string subject, tar_limits limits = {})
        : source_{&source}, scanner_{std::move(subject), limits}, buffer_(buffer_size) {}
    tar_reader(tar_reader&&) noexcept = default;
    tar_reader& operator=(tar_reader&&) noexcept = default;
    tar_reader(tar_reader const&) = delete;
    tar_reader& operator=(tar_reader const&) = delete;
    ~tar_reader() = default;

    /// The next entry, valid until the next call; payload that was not read is skipped. Null at the end.
    /// Throws format_error if the archive is malformed or truncated; a missing end marker is accepted, see
    /// saw_end_marker().
    tar_entry const* next() {
        piece_ = {};
        for (;;) {
            auto const found = scanner_.next(rest_);
            if (found == tar_scanner::event::entry) break;
            if (found == tar_scanner::event::need_more && !refill()) {
                unread_ = 0;
                scanner_.finish();
                return nullptr;
            }
        }
        unread_ = scanner_.entry().size;
        return &scanner_.entry();
    }

    /// Payload of the current entry: fills up to into.size() bytes; 0 means that it is over.
    std::size_t read(bytes_span into) {
        while (piece_.empty() && unread_ != 0) {
            if (scanner_.next(rest_) == tar_scanner::event::payload)
                piece_ = scanner_.payload();
            else if (!refill())
                scanner_.finish(); // throws: the payload is cut off
        }
        auto const n = std::min(into.size(), piece_.size());
        std::copy_n(piece_.begin(), n, into.begin());
        piece_ = piece_.subspan(n);
        unread_ -= n;
        return n;
    }

    /// After next() returned null: did the archive end as it should, in two zero blocks?
    [[nodiscard]] bool saw_end_marker() const noexcept { return scanner_.at_end_marker(); }
    /// After next() returned null: did bytes other than zeros follow the end marker?
    [[nodiscard]] bool trailing_data() const noexcept { return scanner_.trailing_data(); }

  private:
    static constexpr std::size_t buffer_size = 1 << 16;

    bool refill() {
        auto const n = source_->read(buffer_);
        rest_ = bytes_view{buffer_}.first(n);
        return n != 0;
    }

    R* source_;
    tar_scanner scanner_;
    std::vector<std::byte> buffer_;
    bytes_view rest_;  // of the buffer, not yet scanned
    bytes_view piece_; // scanned payload, not yet handed out
    std::uint64_t unread_ = 0;
};

} // namespace shiplap
