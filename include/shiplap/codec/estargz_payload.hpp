#pragma once
// estargz_payload: the archive in a layer that is packed with gzip. Of an eStargz blob that is what stood
// there before the table of contents was added; of any other all that it unpacks to.
//
//     estargz_payload archive{packed, "layer.tar.gz", is_annotated, everything};
//     transfer(archive, out);
//
// Made for streams: every byte is read once and from front to back, and memory does not grow with the table
// of contents, which is skipped. It is the member that begins between two entries, or behind the last one,
// with the header of its file. That nothing but a footer follows, and that this one tells the offset of that
// very member, is found out later: until read() returned 0, nothing of the archive may be published.
// A file of that name in any other gzip passes like others, unless it begins a member and is larger than 1 MiB.
//
// Some writers put the table of contents in front of the end of the archive: the two zero blocks that are
// then missing are added. Also where a footer says that the table is kept elsewhere.

#include <shiplap/bytes/erased.hpp>
#include <shiplap/codec/estargz_footer.hpp>
#include <shiplap/codec/gzip_decoder.hpp>
#include <shiplap/tar/scanner.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <utility>

namespace shiplap {

namespace detail {

/// A source that knows how much was read of it, and the last bytes of that. A byte_source.
class ending_source {
  public:
    explicit ending_source(any_byte_source from) : from_{std::move(from)} {}

    std::size_t read(bytes_span into) {
        auto const n = from_.read(into);
        size_ += n;
        ending_ += as_text(into.first(n).last(std::min(n, estargz_footer_size)));
        ending_.erase(0, ending_.size() - std::min(ending_.size(), estargz_footer_size));
        return n;
    }

    [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
    /// The last 51 bytes, if there are as many.
    [[nodiscard]] bytes_view ending() const noexcept { return as_bytes(ending_); }

  private:
    any_byte_source from_;
    std::uint64_t size_ = 0;
    std::string ending_;
};

} // namespace detail

/// A byte_source.
class estargz_payload {
  public:
    /// `subject` names the layer in messages. `is_annotated`: its descriptor says that it is eStargz, so a
    /// table of contents must be there. `everything` gets all that `packed` unpacks to, which is what a
    /// diff_id is the digest of.
    estargz_payload(any_byte_source packed, std::string subject, bool is_annotated, byte_sink_ref everything)
        : packed_{std::move(packed)},
          subject_{subject},
          is_annotated_{is_annotated},
          everything_{everything},
          archive_{std::move(subject)} {}

    /// Throws format_error if the bytes are no gzip or no tar, or the table of contents is not where it
    /// should be.
    std::size_t read(bytes_span into) {
        if (into.empty()) return 0;
        for (;;) {
            if (auto const n = hand_out(into)) return n;
            if (ended_) return 0;
            if (auto const n = read_member(into)) {
                scan(archive_, into.first(n));
                return n;
            }
            begin_member();
        }
    }

  private:
    static constexpr std::size_t most_held = 1024 * 1024;

    /// What is to be given before anything else is read.
    std::size_t hand_out(bytes_span into) {
        auto const n = ahead_.copy(reinterpret_cast<char*>(into.data()), into.size());
        ahead_.erase(0, n);
        return n;
    }

    std::size_t read_member(bytes_span into) {
        auto const n = decoder_.read_member(packed_, into);
        everything_.write(into.first(n));
        return n;
    }

    void begin_member() {
        if (!decoder_.begin_member(packed_)) return end_without_table();
        if (!archive_.between_entries() && !archive_.at_end_marker()) return;
        std::array<std::byte, tar_block_size> head;
        std::size_t filled = 0;
        while (auto const n = read_member(bytes_span{head}.subspan(filled))) filled += n;
        auto const begin = bytes_view{head}.first(filled);
        if (is_table_header(begin)) return read_table(begin);
        scan(archive_, begin);
        ahead_ = as_text(begin);
    }

    [[nodiscard]] static bool is_table_header(bytes_view begin) {
        detail::tar_block block;
        if (begin.size() != block.bytes.size()) return false;
        std::copy_n(as_text(begin).begin(), block.bytes.size(), block.bytes.begin());
        auto const type = block.raw(detail::tar_fields::type).front();
        return block.text(detail::tar_fields::name) == estargz_toc_name && (type == '0' || type == '\0') &&
               block.text(detail::tar_fields::prefix).empty() && block.intact();
    }

    /// Passes over the table of contents. An ordinary file of its name is handed out, if it is not too large
    /// to wait for what follows it.
    void read_table(bytes_view begin) {
        auto const offset = decoder_.member_offset();
        tar_scanner table{subject_};
        auto entries = scan(table, begin);
        ahead_ = as_text(begin);
        std::string space(64 * std::size_t{1024}, '\0');
        bytes_span const buffer{reinterpret_cast<std::byte*>(space.data()), space.size()};
        while (entries == 1) {
            auto const piece = bytes_view{buffer.first(read_member(buffer))};
            if (piece.empty()) break;
            entries += scan(table, piece);
            if (ahead_.size() <= most_held) ahead_ += as_text(piece);
        }
        bool const is_whole = entries == 1 && table.at_end_marker() && !table.trailing_data();
        bool const goes_on = is_whole && decoder_.begin_member(packed_);
        if (goes_on && is_footer_of(offset)) {
            ahead_.clear();
            return end_archive();
        }
        if (goes_on || is_annotated_ || ahead_.size() > most_held)
            fail("the member at offset " + std::to_string(offset) +
                 " begins as the table of contents of eStargz does, but is not followed by the end of the "
                 "layer and a footer that says so");
        scan(archive_, as_bytes(ahead_));
    }

    /// With its two zero blocks, which some writers leave out.
    void end_archive() {
        if (archive_.between_entries()) ahead_.assign(2 * tar_block_size, '\0');
        ended_ = true;
    }

    /// Is the member that has just begun the last one, and tells this offset?
    [[nodiscard]] bool is_footer_of(std::uint64_t toc_offset) {
        std::byte one{};
        if (read_member({&one, 1}) != 0 || decoder_.begin_member(packed_)) return false;
        auto const size = packed_.size() - decoder_.member_offset();
        return size <= packed_.ending().size() &&
               estargz_toc_offset(packed_.ending().last(static_cast<std::size_t>(size))) == toc_offset;
    }

    void end_without_table() {
        auto const ending = packed_.ending();
        if (as_text(ending).ends_with(external_toc_footer())) return end_archive();
        auto told = estargz_toc_offset(ending);
        if (!told) told = estargz_toc_offset(ending.last(std::min(ending.size(), stargz_footer_size)));
        if (told)
            fail("its footer says that the table of contents of eStargz is at offset " +
                 std::to_string(*told) + ", where it is not");
        if (is_annotated_) fail("its annotations say that it is eStargz, but it has no table of contents");
        ended_ = true;
    }

    /// Returns the number of entries that begin in these bytes.
    static unsigned scan(tar_scanner& archive, bytes_view in) {
        unsigned entries = 0;
        while (!in.empty()) entries += archive.next(in) == tar_scanner::event::entry ? 1 : 0;
        return entries;
    }

    [[noreturn]] void fail(std::string reason) const {
        throw format_error{"unpack", subject_, std::move(reason)};
    }

    detail::ending_source packed_;
    std::string subject_;
    bool is_annotated_;
    byte_sink_ref everything_;
    gzip_decoder decoder_;
    tar_scanner archive_;
    std::string ahead_;
    bool ended_ = false;
};

} // namespace shiplap
