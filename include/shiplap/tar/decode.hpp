#pragma once
// From a header block, and the extended headers before it, to a tar_entry. Used by tar_scanner alone.
//
// The result keeps the promises of tar_entry whatever the archive says: a directory's name ends in '/', no
// other entry but a link has a link target, none but a regular file a size.

#include <shiplap/error.hpp>
#include <shiplap/tar/header.hpp>
#include <shiplap/tar/pax.hpp>

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace shiplap::detail {

/// Where in which archive something was found; makes the errors of tar reading.
struct tar_place {
    std::string_view subject; ///< the archive
    std::uint64_t offset;     ///< of the header
    std::string_view name;    ///< of the entry, as far as it is known

    [[noreturn]] void fail(std::string_view reason) const {
        throw format_error{"read tar", std::string{subject}, at(reason)};
    }
    [[noreturn]] void unsupported(std::string_view reason) const {
        throw error{error_code::unsupported, "read tar", std::string{subject}, at(reason)};
    }

  private:
    [[nodiscard]] std::string at(std::string_view reason) const {
        return "entry '" + printable(name) + "' at offset " + std::to_string(offset) + ": " +
               std::string{reason};
    }
};

/// What extended headers say: `global` about all later entries, the rest about the next one.
struct tar_extensions {
    pax_records global, local;
    std::string long_name, long_link; ///< GNU's; empty if there is none

    /// The value in force. An empty local value undoes a global one (POSIX.1-2017, pax, "pax Extended
    /// Header").
    [[nodiscard]] std::optional<std::string_view> record(std::string_view key) const {
        std::string const wanted{key};
        for (auto const* records : {&local, &global})
            if (auto const found = records->find(wanted); found != records->end())
                return found->second.empty() ? std::nullopt : std::optional<std::string_view>{found->second};
        return {};
    }
};

class entry_decoder {
  public:
    entry_decoder(tar_block const& block, tar_extensions const& extensions, tar_place place)
        : block_{block}, extensions_{extensions}, place_{place}, dialect_{block.dialect()} {}

    [[nodiscard]] tar_entry decode() {
        tar_entry entry;
        entry.name = name();
        place_.name = entry.name;
        if (entry.name.empty()) place_.fail("has no name");
        entry.type = type(entry.name);
        if (entry.type == entry_type::directory && !entry.name.ends_with('/')) entry.name += '/';
        place_.name = entry.name;
        entry.mode = static_cast<std::uint32_t>(number(tar_fields::mode, "mode", "") & 07777u);
        entry.uid = number(tar_fields::uid, "uid", "uid");
        entry.gid = number(tar_fields::gid, "gid", "gid");
        auto const size = number(tar_fields::size, "size", "size");
        if (entry.type == entry_type::regular) entry.size = size;
        entry.mtime = mtime();
        if (entry.type == entry_type::hard_link || entry.type == entry_type::symbolic_link)
            entry.link_name = link_target();
        if (dialect_ != tar_dialect::v7) read_ustar_fields(entry);
        entry.xattrs = attributes();
        return entry;
    }

    /// A number of the header itself: 0..2^63-1.
    [[nodiscard]] std::uint64_t number(tar_field field, std::string_view what) const {
        auto const value = block_.number(field);
        if (!value || *value < 0)
            place_.fail("the " + std::string{what} + " is no valid number: '" + printable(block_.raw(field)) +
                        "'");
        return static_cast<std::uint64_t>(*value);
    }

  private:
    // A PAX record replaces the field, which then only has to be there for readers without PAX.
    [[nodiscard]] std::uint64_t number(tar_field field, std::string_view what, std::string_view key) const {
        auto const record = extensions_.record(key);
        if (!record) return number(field, what);
        auto const value = parse_decimal(*record);
        if (!value)
            place_.fail("the PAX " + std::string{what} + " is no valid number: '" + printable(*record) + "'");
        return *value;
    }

    [[nodiscard]] timestamp mtime() const {
        if (auto const record = extensions_.record("mtime")) {
            auto const time = parse_pax_time(*record);
            if (!time) place_.fail("the PAX mtime is no valid time: '" + printable(*record) + "'");
            return *time;
        }
        auto const seconds = block_.number(tar_fields::mtime);
        if (!seconds)
            place_.fail("the mtime is no valid number: '" + printable(block_.raw(tar_fields::mtime)) + "'");
        return {*seconds, 0};
    }

    [[nodiscard]] std::string name() const {
        auto const prefix = dialect_ == tar_dialect::ustar  ? block_.text(tar_fields::prefix)
                            : dialect_ == tar_dialect::star ? block_.text(tar_fields::star_prefix)
                                                            : std::string_view{};
        std::string whole{prefix};
        if (!prefix.empty()) whole += '/';
        whole += block_.text(tar_fields::name);
        return overridden(whole, "path", extensions_.long_name);
    }

    [[nodiscard]] std::string link_target() const {
        auto target =
            overridden(std::string{block_.text(tar_fields::link_name)}, "linkpath", extensions_.long_link);
        if (target.empty()) place_.fail("is a link without a target");
        return target;
    }

    [[nodiscard]] std::string overridden(std::string const& text, std::string_view key,
                                         std::string const& gnu) const {
        auto const pax = extensions_.record(key);
        if (pax && !gnu.empty() && *pax != gnu)
            place_.fail("its GNU long name and its PAX " + std::string{key} + " contradict each other");
        if (pax) return std::string{*pax};
        return gnu.empty() ? text : gnu;
    }

    [[nodiscard]] entry_type type(std::string_view name) const {
        auto const flag = block_.raw(tar_fields::type).front();
        switch (flag) {
        case '0': // regular
        case '7': // contiguous: a hint to file systems of old
        case '\0':
            if (!name.ends_with('/')) return entry_type::regular;
            // V7 had no flag for directories, a slash marked them.
            if (flag == '\0' || dialect_ == tar_dialect::v7) return entry_type::directory;
            place_.fail("is a regular file but its name ends in '/'");
        case '1':
        case '2':
        case '3':
        case '4':
        case '5':
        case '6':
            return entry_type{flag};
        case 'S':
            place_.unsupported("is a sparse file of GNU tar, which is not supported");
        default:
            place_.unsupported("has the type '" + printable({&flag, 1}) + "', which is not supported");
        }
    }

    void read_ustar_fields(tar_entry& entry) const {
        entry.user_name = extensions_.record("uname").value_or(block_.text(tar_fields::user_name));
        entry.group_name = extensions_.record("gname").value_or(block_.text(tar_fields::group_name));
        // A hard link repeats the numbers of the device that it names.
        if (entry.type != entry_type::character_device && entry.type != entry_type::block_device &&
            entry.type != entry_type::hard_link)
            return;
        entry.device_major = device_number(tar_fields::device_major, "device major number");
        entry.device_minor = device_number(tar_fields::device_minor, "device minor number");
    }

    [[nodiscard]] std::uint32_t device_number(tar_field field, std::string_view what) const {
        auto const value = number(field, what);
        if (value > std::numeric_limits<std::uint32_t>::max())
            place_.fail("the " + std::string{what} + " is too large");
        return static_cast<std::uint32_t>(value);
    }

    // An empty value is a value here, not an undoing: files do have such attributes.
    [[nodiscard]] std::vector<extended_attribute> attributes() const {
        pax_records found;
        for (auto const* records : {&extensions_.local, &extensions_.global})
            for (auto at = records->lower_bound(std::string{pax_xattr});
                 at != records->end() && at->first.starts_with(pax_xattr); ++at)
                found.insert(*at); // a local record was there before the global one
        std::vector<extended_attribute> result;
        result.reserve(found.size());
        for (auto const& [key, value] : found) {
            if (key.size() == pax_xattr.size()) place_.fail("has an extended attribute without a name");
            result.push_back({key.substr(pax_xattr.size()), value});
        }
        return result;
    }

    tar_block const& block_;
    tar_extensions const& extensions_;
    tar_place place_;
    tar_dialect dialect_;
};

} // namespace shiplap::detail
