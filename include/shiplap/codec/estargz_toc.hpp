#pragma once
// The table of contents of an eStargz layer (stargz-snapshotter, docs/estargz.md, "TOC and TOCEntry").
//
// Entries are kept in binary form, about 200 bytes each beside their names, and the JSON, which is several
// times as long, is rendered anew each time that it is needed.

#include <shiplap/bytes/concept.hpp>
#include <shiplap/codec/estargz_json.hpp>
#include <shiplap/digest/digest.hpp>
#include <shiplap/error.hpp>
#include <shiplap/tar/entry.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace shiplap {

/// Collects what a layer's tar contains and where in the blob it is, then renders it.
class estargz_toc {
  public:
    /// Content is cut into chunks of so many bytes; the last one of a file may be shorter.
    static constexpr std::uint64_t chunk_size = 4 * 1024 * 1024;

    [[nodiscard]] static constexpr std::uint64_t chunks_of(std::uint64_t size) noexcept {
        return size / chunk_size + (size % chunk_size != 0 ? 1 : 0);
    }

    /// The next entry of the tar. Throws error{unsupported} if a name is not UTF-8: JSON cannot hold it, and
    /// who reads by the table of contents would see another name.
    void add_entry(tar_entry const& entry) {
        demand_utf8(entry);
        bool const device =
            entry.type == entry_type::character_device || entry.type == entry_type::block_device;
        rare_facts rare{if_changed(users_, entry.uid, entry.user_name),
                        if_changed(groups_, entry.gid, entry.group_name), device ? entry.device_major : 0,
                        device ? entry.device_minor : 0, entry.xattrs};
        bool const plain = !device && rare.user.empty() && rare.group.empty() && rare.xattrs.empty();
        entries_.push_back({entry.name, entry.link_name, entry.size, entry.mtime, entry.uid, entry.gid,
                            plain ? nullptr : std::make_unique<rare_facts>(std::move(rare)), entry.mode,
                            entry.type});
    }

    /// The next chunk of content: the offset of its member in the blob, and its raw SHA-256. Each regular
    /// file has chunks_of(size), in the order of the tar.
    void add_chunk(std::uint64_t offset, std::string_view raw) { chunks_.push_back({offset, fixed(raw)}); }

    /// The raw SHA-256 of the next file that has more than one chunk.
    void add_file_digest(std::string_view raw) { file_digests_.push_back(fixed(raw)); }

    /// Writes the JSON text.
    template <byte_sink Out>
    void render(Out& out) const {
        auto chunk = chunks_.begin();
        auto file_digest = file_digests_.begin();
        auto const empty = fixed(sha256::hasher{}.finish());
        std::string text{"{\n\t\"version\": 1,\n\t\"entries\": ["};
        std::string_view separator;
        auto const next = [&] {
            if (text.size() >= transfer_size) {
                out.write(as_bytes(text));
                text.clear();
            }
            text += std::exchange(separator, ",");
        };
        for (auto const& entry : entries_) {
            next();
            auto const chunks = chunks_of(entry.size);
            auto object = describe(entry, chunks != 0 ? chunk->offset : 0, text);
            if (entry.type == entry_type::regular)
                object.digest_of("digest", chunks == 0   ? empty
                                           : chunks == 1 ? chunk->digest
                                                         : *file_digest++);
            for (std::uint64_t i = 0; i < chunks; ++i) {
                auto const at = i * chunk_size;
                object.number("chunkOffset", at);
                // Without a size a chunk reaches to the end of the file; the reference leaves it out only of
                // short ones.
                object.number("chunkSize", entry.size - at >= chunk_size ? chunk_size : 0);
                object.digest_of("chunkDigest", chunk->digest);
                ++chunk;
                if (i + 1 == chunks) break;
                object.finish();
                next();
                object = further_chunk(entry, chunk->offset, text);
            }
            object.finish();
        }
        text += entries_.empty() ? "]\n}" : "\n\t]\n}";
        out.write(as_bytes(text));
    }

  private:
    using raw_digest = std::array<char, sha256::size>;

    /// What few entries have.
    struct rare_facts {
        std::string user, group;
        std::uint32_t device_major, device_minor;
        std::vector<extended_attribute> xattrs;
    };

    struct entry_facts {
        std::string name, link_name;
        std::uint64_t size;
        timestamp mtime;
        std::uint64_t uid, gid;
        std::unique_ptr<rare_facts> rare;
        std::uint32_t mode;
        entry_type type;
    };

    struct chunk_facts {
        std::uint64_t offset;
        raw_digest digest;
    };

    using names_by_id = std::map<std::uint64_t, std::string>;

    static raw_digest fixed(std::string_view raw) {
        raw_digest out{};
        std::copy_n(raw.begin(), out.size(), out.begin());
        return out;
    }

    /// A name is told once for each id, and again when it is another one.
    static std::string if_changed(names_by_id& known, std::uint64_t id, std::string const& name) {
        if (name.empty() || known[id] == name) return {};
        return known[id] = name;
    }

    static void demand_utf8(tar_entry const& entry) {
        auto const check = [&](std::string_view text, char const* what) {
            try {
                if (!detail::stands_for_itself(text)) detail::go_json_string(text);
            } catch (nlohmann::json::type_error const&) {
                throw error{error_code::unsupported, "pack as estargz", entry.name,
                            std::string{what} +
                                " is not UTF-8, which its table of contents demands; gzip and zstd "
                                "take any name"};
            }
        };
        check(entry.name, "the name");
        check(entry.link_name, "the link target");
        check(entry.user_name, "the user name");
        check(entry.group_name, "the group name");
        for (auto const& attribute : entry.xattrs) check(attribute.name, "the name of an extended attribute");
    }

    static detail::toc_object describe(entry_facts const& entry, std::uint64_t offset, std::string& to) {
        detail::toc_object object{to};
        object.text("name", entry.name);
        object.text("type", detail::toc_type(entry.type));
        object.number("size", entry.size);
        object.text("modtime", detail::toc_time(entry.mtime));
        object.text("linkName", entry.link_name);
        object.number("mode", entry.mode);
        object.number("uid", entry.uid);
        object.number("gid", entry.gid);
        if (entry.rare) {
            object.text("userName", entry.rare->user);
            object.text("groupName", entry.rare->group);
        }
        object.number("offset", offset);
        if (entry.rare) {
            object.number("devMajor", entry.rare->device_major);
            object.number("devMinor", entry.rare->device_minor);
            object.xattrs(entry.rare->xattrs);
        }
        return object;
    }

    static detail::toc_object further_chunk(entry_facts const& entry, std::uint64_t offset, std::string& to) {
        detail::toc_object object{to};
        object.text("name", entry.name);
        object.text("type", "chunk");
        object.number("offset", offset);
        return object;
    }

    // Deques grow without a copy of all that is there.
    std::deque<entry_facts> entries_;
    std::deque<chunk_facts> chunks_;
    std::deque<raw_digest> file_digests_;
    names_by_id users_, groups_;
};

} // namespace shiplap
