#pragma once
// tar_retimer: an archive with other times and nothing else changed: order, names, owners, formats, unknown
// records and payload stay to the byte. It goes along with the scanner that parses the archive, and gets what
// that one took off its input:
//
//     tar_retimer retimer{clamp_timestamps{limit}};
//     while (!in.empty()) {
//         auto const before = in;
//         auto const event = scanner.next(in);
//         retimer.pass(before.first(before.size() - in.size()), event, scanner, out);
//     }
//     scanner.finish();
//     retimer.finish(out);
//
// Each place that holds a time is mapped for itself: the field of every header, also of extended ones, the
// access and change times of GNU tar and star, the records mtime, atime and ctime of PAX, also global ones.
// A changed mtime moves from its record into the field if that can hold it, as it would have been written in
// the first place. Whiteouts of time 0 stay. A field holds whole seconds, so a fraction that the policy makes is
// lost there. What is behind the two zero blocks is dropped.

#include <shiplap/tar/scanner.hpp>
#include <shiplap/tar/timestamps.hpp>
#include <shiplap/tar/whiteout.hpp>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace shiplap {

class tar_retimer {
  public:
    /// Refers to the policy.
    explicit tar_retimer(timestamps_ref time) : time_{time} {}

    /// The next piece of the archive, as `scanner` just took it with `event`.
    template <byte_sink Out>
    void pass(bytes_view taken, tar_scanner::event event, tar_scanner const& scanner, Out& out) {
        if (event == tar_scanner::event::payload) return out.write(taken);
        while (!taken.empty()) {
            auto const size = wanted_ < taken.size() ? static_cast<std::size_t>(wanted_) : taken.size();
            auto const piece = taken.first(size);
            taken = taken.subspan(size);
            wanted_ -= size;
            if (part_ == part::verbatim)
                out.write(piece);
            else if (part_ == part::records)
                body_ += as_text(piece);
            else if (part_ == part::block)
                std::copy_n(as_text(piece).begin(), size,
                            block_.bytes.end() - static_cast<std::ptrdiff_t>(wanted_ + size));
            if (wanted_ != 0) continue;
            if (part_ == part::block && event == tar_scanner::event::entry && taken.empty())
                write_entry(scanner.entry(), out);
            else
                end_part(out);
        }
    }

    /// The archive is complete: ends it.
    template <byte_sink Out>
    void finish(Out& out) {
        out.write(as_bytes(std::string(2 * tar_block_size, '\0')));
    }

  private:
    enum class part {
        block,    // a header, or the end
        verbatim, // padding, or a name of GNU tar
        records,  // the body of a PAX header and its padding
        trailer,  // the end and what is behind it
    };

    void expect(part what, std::uint64_t size) noexcept {
        part_ = size == 0 ? part::block : what;
        wanted_ = size == 0 ? tar_block_size : size;
    }

    template <byte_sink Out>
    void write_entry(tar_entry const& entry, Out& out) {
        bool const is_whiteout =
            is_reserved_name(std::string_view{entry.name}.substr(entry.name.rfind('/') + 1));
        if (!is_whiteout || entry.mtime != timestamp{}) retime_block();
        if (auto const moved = std::exchange(moved_mtime_, std::nullopt)) {
            block_.put_signed(detail::tar_fields::mtime, *moved);
            block_.put_checksum();
        }
        out.write(as_bytes(block_.all()));
        expect(part::verbatim, tar_padding(entry.size)); // the payload does not come here
    }

    template <byte_sink Out>
    void end_part(Out& out) {
        if (part_ == part::records) return write_records(out);
        if (part_ != part::block) return expect(part::block, tar_block_size);
        if (block_.is_zero()) return expect(part::trailer, std::numeric_limits<std::uint64_t>::max());
        retime_block();
        body_size_ = static_cast<std::size_t>(block_.number(detail::tar_fields::size).value_or(0));
        auto const size = body_size_ + tar_padding(body_size_);
        auto const type = block_.raw(detail::tar_fields::type).front();
        bool const is_pax = type == 'x' || type == 'g';
        if (!is_pax || size == 0) out.write(as_bytes(block_.all())); // else its size may change
        body_.clear();
        expect(is_pax ? part::records : part::verbatim, size);
    }

    template <byte_sink Out>
    void write_records(Out& out) {
        auto const records = retimed_records();
        expect(part::block, tar_block_size);
        if (records.empty() && body_size_ != 0) return;
        if (records.size() != body_size_) {
            block_.put_octal(detail::tar_fields::size, records.size());
            block_.put_checksum();
        }
        out.write(as_bytes(block_.all()));
        out.write(as_bytes(records + std::string(tar_padding(records.size()), '\0')));
    }

    std::string retimed_records() {
        std::string records;
        bool const is_global = block_.raw(detail::tar_fields::type).front() == 'g';
        unsigned mtimes = 0;
        each_record([&](detail::pax_record const& record, std::string_view) {
            if (record.key == "mtime") ++mtimes;
        });
        if (is_global && mtimes != 0) global_mtime_ = true;
        bool const may_move = !is_global && !global_mtime_ && mtimes == 1;
        each_record([&](detail::pax_record const& record, std::string_view whole) {
            auto const time = time_of(record);
            auto const mapped = time ? time_(*time) : timestamp{};
            if (!time || mapped == *time)
                records += whole;
            else if (record.key == "mtime" && may_move && fits_field(mapped))
                moved_mtime_ = mapped.seconds;
            else
                detail::append_pax_record(records, record.key, detail::pax_time(mapped));
        });
        return records;
    }

    /// Calls `action(record, its bytes)` for each record of the body.
    template <class Action>
    void each_record(Action action) const {
        std::string_view rest{body_.data(), body_size_};
        while (!rest.empty()) {
            auto const all = rest;
            auto const record = detail::take_pax_record(rest);
            if (!record) return; // the scanner refuses it
            action(*record, all.substr(0, all.size() - rest.size()));
        }
    }

    [[nodiscard]] static std::optional<timestamp> time_of(detail::pax_record const& record) {
        if (record.key != "mtime" && record.key != "atime" && record.key != "ctime") return {};
        return detail::parse_pax_time(record.value);
    }

    [[nodiscard]] static bool fits_field(timestamp time) noexcept {
        return time.nanoseconds == 0 &&
               detail::fits_octal(detail::tar_fields::mtime, static_cast<std::uint64_t>(time.seconds));
    }

    void retime_block() {
        using namespace detail;
        retime_field(tar_fields::mtime);
        auto const dialect = block_.dialect();
        if (dialect != tar_dialect::gnu && dialect != tar_dialect::star) return;
        bool const is_gnu = dialect == tar_dialect::gnu;
        for (auto const field : {is_gnu ? tar_fields::gnu_atime : tar_fields::star_atime,
                                 is_gnu ? tar_fields::gnu_ctime : tar_fields::star_ctime})
            if (block_.raw(field).front() != '\0') retime_field(field); // else it is not there
    }

    void retime_field(detail::tar_field field) {
        auto const seconds = block_.number(field);
        if (!seconds) return;
        auto const mapped = time_(timestamp{*seconds, 0}).seconds;
        if (mapped == *seconds) return;
        block_.put_signed(field, mapped);
        block_.put_checksum();
    }

    timestamps_ref time_;
    part part_ = part::block;
    std::uint64_t wanted_ = tar_block_size; // bytes of part_ that are missing
    detail::tar_block block_;
    std::string body_; // of the PAX header block_
    std::size_t body_size_ = 0;
    std::optional<std::int64_t> moved_mtime_; // from a record to the field of the next entry
    bool global_mtime_ = false;               // there is a record that would take its place
};

} // namespace shiplap
