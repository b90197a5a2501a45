#pragma once
// tar_scanner: the one tar parser. Bytes are pushed into it in pieces of any size; it says what they are:
//
//     while (!in.empty())
//         switch (scanner.next(in)) { // takes what it needs off the front of `in`
//         case tar_scanner::event::entry: ...     scanner.entry()
//         case tar_scanner::event::payload: ...   scanner.payload(), a piece of the entry's content
//         case tar_scanner::event::end: ...       the archive is complete
//         case tar_scanner::event::need_more: ... `in` is used up
//         }
//     scanner.finish(); // there is no more input
//
// Reads ustar, PAX, GNU long names and base-256 numbers, star and V7. Where programs differ in what they make
// of an archive, it refuses: no right checksum, a number that reads in two ways, a record whose length lies,
// an extended header without an entry. One size rule: a PAX size replaces that of the header, and what is not
// a regular file has no payload, whatever its size says. Memory is bounded by tar_limits.
//
// Every error is a format_error, or an error of code `unsupported` for sparse files and types beyond POSIX;
// it names the archive, the offset of the header and the entry.

#include <shiplap/bytes/concept.hpp>
#include <shiplap/error.hpp>
#include <shiplap/tar/decode.hpp>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace shiplap {

/// What an archive may use up.
struct tar_limits {
    std::uint64_t max_pax = 1 << 20;       ///< bytes of an extended header, and of all global records
    std::uint64_t max_long_name = 1 << 16; ///< bytes of a GNU long name or long link target
    std::uint64_t max_entries = 1 << 24;   ///< entries in the archive
};

class tar_scanner {
  public:
    enum class event {
        need_more, ///< all bytes were taken and nothing is complete
        entry,     ///< a new entry begins: entry()
        payload,   ///< a non-empty piece of its content: payload()
        end,       ///< the two zero blocks; comes once
    };

    /// `subject` names the archive in messages.
    explicit tar_scanner(std::string subject, tar_limits limits = {})
        : subject_{std::move(subject)}, limits_{limits} {}

    /// Takes bytes off the front of `in` up to the next event. After an exception the scanner is of no use.
    event next(bytes_view& in) {
        while (!in.empty()) {
            switch (state_) {
            case state::header:
                if (!collect_block(in)) break;
                if (auto const found = read_block()) return *found;
                break;
            case state::extension:
                extension_.append(as_text(take(in)));
                if (remaining_ == 0) finish_extension();
                break;
            case state::payload:
                payload_ = take(in);
                if (remaining_ == 0) pass_over(state::padding, tar_padding(entry_.size));
                return event::payload;
            case state::padding:
                take(in);
                if (remaining_ == 0) state_ = state::header;
                break;
            case state::trailer:
                trailing_data_ |= as_text(in).find_first_not_of('\0') != std::string_view::npos;
                offset_ += in.size();
                in = {};
                break;
            }
        }
        return event::need_more;
    }

    /// The current entry: valid from event::entry to the next one.
    [[nodiscard]] tar_entry const& entry() const noexcept { return entry_; }
    /// After event::payload: a part of the bytes that next() consumed.
    [[nodiscard]] bytes_view payload() const noexcept { return payload_; }
    /// Bytes consumed so far. At event::entry that is where the payload starts.
    [[nodiscard]] std::uint64_t offset() const noexcept { return offset_; }
    /// Where the headers of the current entry start, extended ones included.
    [[nodiscard]] std::uint64_t entry_offset() const noexcept { return entry_offset_; }
    /// Does the next byte belong to another entry, or to the end?
    [[nodiscard]] bool between_entries() const noexcept {
        return state_ == state::header && filled_ == 0 && !extended_ && !zero_block_seen_;
    }
    /// Were both zero blocks seen?
    [[nodiscard]] bool at_end_marker() const noexcept { return state_ == state::trailer; }
    /// Did anything but zeros follow them?
    [[nodiscard]] bool trailing_data() const noexcept { return trailing_data_; }

    /// There is no more input. Throws format_error if it ended inside an entry. A missing end marker is no
    /// error here: see at_end_marker().
    void finish() const {
        if (state_ == state::trailer || (state_ == state::header && filled_ == 0 && !extended_)) return;
        bool const extension = type_ == 'x' || type_ == 'g' || type_ == 'L' || type_ == 'K';
        bool const in_content = !extension && (state_ == state::payload || state_ == state::padding);
        auto const where =
            in_content ? "the content of entry '" + printable(entry_.name) + "'" : "the header";
        throw format_error{"read tar", subject_,
                           "truncated: ends at offset " + std::to_string(offset_) + ", inside " + where +
                               " that starts at offset " + std::to_string(entry_offset_)};
    }

  private:
    enum class state { header, extension, payload, padding, trailer };

    /// Up to remaining_ bytes.
    bytes_view take(bytes_view& in) noexcept {
        auto const n = remaining_ < in.size() ? static_cast<std::size_t>(remaining_) : in.size();
        auto const taken = in.first(n);
        in = in.subspan(n);
        remaining_ -= n;
        offset_ += n;
        return taken;
    }

    void pass_over(state part, std::uint64_t size) noexcept {
        state_ = size != 0 ? part : state::header;
        remaining_ = size;
    }

    /// Is the block complete?
    bool collect_block(bytes_view& in) noexcept {
        if (filled_ == 0) begin_block();
        remaining_ = tar_block_size - filled_;
        auto const piece = as_text(take(in));
        std::copy(piece.begin(), piece.end(), block_.bytes.begin() + static_cast<std::ptrdiff_t>(filled_));
        filled_ = remaining_ == 0 ? 0 : filled_ + piece.size();
        return remaining_ == 0;
    }

    void begin_block() noexcept {
        block_offset_ = offset_;
        if (!extended_) entry_offset_ = offset_;
    }

    std::optional<event> read_block() {
        if (block_.is_zero()) return read_zero_block();
        if (zero_block_seen_) place().fail("follows a single zero block: an archive ends in two");
        if (!block_.intact()) place().fail("the header has a wrong checksum");
        switch (type_ = block_.raw(detail::tar_fields::type).front()) {
        case 'x':
        case 'g':
            if (pax_seen_) place().fail("an extended header is followed by another one, not by its entry");
            if (type_ == 'g' && extended_)
                place().fail("a global header stands between an entry and its name");
            begin_extension(limits_.max_pax);
            return {};
        case 'L':
        case 'K':
            begin_extension(limits_.max_long_name);
            return {};
        default:
            read_entry();
            return event::entry;
        }
    }

    std::optional<event> read_zero_block() {
        if (extended_) place().fail("an extended header is followed by the end of the archive");
        if (!std::exchange(zero_block_seen_, true)) return {};
        state_ = state::trailer;
        return event::end;
    }

    void begin_extension(std::uint64_t limit) {
        auto const size =
            detail::entry_decoder{block_, extensions_, place()}.number(detail::tar_fields::size, "size");
        if (size > limit)
            place().fail("an extended header of " + std::to_string(size) + " bytes; the limit is " +
                         std::to_string(limit));
        extended_ = type_ != 'g';
        pax_seen_ = pax_seen_ || type_ == 'x';
        extension_.clear();
        state_ = state::extension;
        remaining_ = size;
        if (size == 0) finish_extension();
    }

    void finish_extension() {
        auto const name = std::string_view{extension_}.substr(0, extension_.find('\0'));
        if (type_ == 'L') extensions_.long_name = name;
        if (type_ == 'K') extensions_.long_link = name;
        if (type_ == 'x') read_records(extensions_.local);
        if (type_ == 'g') read_global_records();
        pass_over(state::padding, tar_padding(extension_.size()));
    }

    void read_records(detail::pax_records& into) {
        std::string_view rest{extension_};
        while (!rest.empty()) {
            auto const position = extension_.size() - rest.size();
            auto const record = detail::take_pax_record(rest);
            if (!record)
                place().fail("malformed PAX record at byte " + std::to_string(position) + " of the header");
            if (record->key.starts_with(detail::pax_sparse))
                place().unsupported("is a sparse file of GNU tar, which is not supported");
            into.insert_or_assign(std::string{record->key}, std::string{record->value});
        }
    }

    void read_global_records() {
        auto& records = extensions_.global;
        read_records(records);
        std::uint64_t size = 0;
        for (auto const& [key, value] : records) size += key.size() + value.size();
        if (size > limits_.max_pax)
            place().fail("global records exceed the limit of " + std::to_string(limits_.max_pax) + " bytes");
    }

    void read_entry() {
        if (++entries_ > limits_.max_entries)
            place().fail("exceeds the limit of " + std::to_string(limits_.max_entries) + " entries");
        entry_ = detail::entry_decoder{block_, extensions_, place()}.decode();
        extended_ = pax_seen_ = false;
        extensions_.local.clear();
        extensions_.long_name.clear();
        extensions_.long_link.clear();
        pass_over(state::payload, entry_.size);
    }

    [[nodiscard]] detail::tar_place place() const {
        return {subject_, block_offset_, block_.text(detail::tar_fields::name)};
    }

    std::string subject_;
    tar_limits limits_;
    state state_ = state::header;
    std::uint64_t offset_ = 0, block_offset_ = 0, entry_offset_ = 0;
    std::uint64_t remaining_ = 0; // of the part that state_ names
    std::uint64_t entries_ = 0;
    detail::tar_block block_;
    std::size_t filled_ = 0; // bytes of block_
    char type_ = '\0';       // of block_
    bool zero_block_seen_ = false, trailing_data_ = false;
    bool extended_ = false; // extended headers wait for their entry
    bool pax_seen_ = false; // one of them is PAX
    std::string extension_; // the body of one
    detail::tar_extensions extensions_;
    tar_entry entry_;
    bytes_view payload_;
};

} // namespace shiplap
