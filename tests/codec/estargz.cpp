#include <shiplap/codec/estargz.hpp>
#include <shiplap/tar/reader.hpp>

#include "codec/support.hpp"

#include <nlohmann/json.hpp>

#include <set>

using namespace codec_tests;
using json = nlohmann::ordered_json;

namespace {

static_assert(leveled_codec<estargz>);
static_assert(annotating_encoder<encoder_of<estargz>> && extending_encoder<encoder_of<estargz>>);

constexpr std::size_t chunk = 4 * mebibyte;

void add(tar_writer<string_sink>& tar, std::string name, std::string_view content) {
    tar_entry entry;
    entry.name = std::move(name);
    entry.mode = 0644;
    entry.size = content.size();
    entry.mtime = {1'600'000'000, 0};
    tar.entry(entry);
    tar.write(as_bytes(content));
}

/// A bit of everything, with sizes around the limits.
std::string sample_tar() {
    string_sink out;
    tar_writer tar{out};
    tar_entry directory;
    directory.name = "dir/";
    directory.type = entry_type::directory;
    directory.mode = 0755;
    tar.entry(directory);
    add(tar, "dir/empty", "");
    add(tar, "dir/small", "small\n");
    add(tar, "dir/.wh.gone", "");
    add(tar, "dir/block", prose(512));
    add(tar, "exact", prose(chunk));
    add(tar, "one-more", prose(chunk + 1));
    add(tar, "long/" + std::string(300, 'n'), prose(2 * chunk + 77));
    for (int i = 0; i < 300; ++i)
        add(tar, "many/" + std::to_string(i), prose(static_cast<std::size_t>(i) * 40));
    tar_entry link;
    link.name = "link";
    link.type = entry_type::symbolic_link;
    link.link_name = "dir/small";
    tar.entry(link);
    tar.finish();
    return out.text;
}

struct packed_layer {
    std::string blob, extension;
    annotation_map annotations;
    [[nodiscard]] std::uint64_t toc_offset() const {
        return estargz_toc_offset(as_bytes(std::string_view{blob}.substr(blob.size() - estargz_footer_size)))
            .value();
    }
    /// The text of the table of contents, from its member.
    [[nodiscard]] std::string toc() const {
        auto const at = static_cast<std::size_t>(toc_offset());
        span_source member{std::string_view{blob}.substr(at, blob.size() - estargz_footer_size - at)};
        decoded_source plain{gzip_decoder{}, member};
        tar_reader tar{plain, "toc"};
        auto const* entry = tar.next();
        REQUIRE(entry != nullptr);
        CHECK(entry->name == "stargz.index.json");
        CHECK(entry->mode == 0);
        CHECK(entry->mtime == timestamp{});
        std::string text(entry->size, '\0');
        std::size_t filled = 0;
        while (filled < text.size())
            filled += tar.read({reinterpret_cast<std::byte*>(text.data()) + filled, text.size() - filled});
        CHECK(tar.next() == nullptr);
        return text;
    }
};

packed_layer packed(std::string_view tar, int level = 6, unsigned workers = 0,
                    std::size_t largest = mebibyte) {
    std::optional<thread_pool> pool;
    if (workers != 0) pool.emplace(workers);
    auto encoder = estargz{.level = level}.encoder(pool ? executor_ref{*pool} : executor_ref{});
    string_sink out, extension;
    write_in_pieces(encoder, tar, largest, out);
    encoder.finish(out);
    encoder.write_extension(extension);
    return {out.text, extension.text, encoder.annotations()};
}

std::string hex_of(std::string_view content) {
    return digest::of<sha256>(as_bytes(content)).text();
}

} // namespace

TEST_CASE("estargz: unpacks to the tar and its extension; annotations and footer agree") {
    auto const tar = sample_tar();
    auto const level = GENERATE(0, 1, 6, 9);
    auto const layer = packed(tar, level, 2);
    CHECK(unpack(estargz::decoder(), layer.blob) == tar + layer.extension);
    CHECK(accepted_by("gzip -t", layer.blob));
    CHECK(layer.annotations == annotation_map{
                                   {"containerd.io/snapshot/stargz/toc.digest", hex_of(layer.toc())},
                                   {"io.containers.estargz.uncompressed-size",
                                    std::to_string(tar.size() + layer.extension.size())},
                               });
    CHECK(layer.extension.size() % 512 == 0);
}

TEST_CASE("estargz: each chunk unpacks alone, at its offset, and has its digest") {
    auto const tar = sample_tar();
    auto const layer = packed(tar, 6, 2);
    auto const toc = json::parse(layer.toc());
    CHECK(toc["version"] == 1);

    span_source source{tar};
    tar_reader reader{source, "sample"};
    std::size_t at = 0;
    std::set<std::uint64_t> offsets;
    auto const& entries = toc["entries"];
    while (auto const* entry = reader.next()) {
        std::string content(entry->size, '\0');
        for (std::size_t n = 0; n < content.size();)
            n += reader.read({reinterpret_cast<std::byte*>(content.data()) + n, content.size() - n});
        REQUIRE(at < entries.size());
        CHECK(entries[at]["name"] == entry->name);
        if (entry->type != entry_type::regular) {
            CHECK_FALSE(entries[at++].contains("digest"));
            continue;
        }
        CHECK(entries[at]["type"] == "reg");
        CHECK(entries[at]["digest"] == hex_of(content));
        CHECK(entries[at].value("size", std::uint64_t{0}) == entry->size);
        if (content.empty()) {
            CHECK_FALSE(entries[at].contains("offset"));
            ++at;
        }
        for (std::size_t done = 0; done < content.size(); ++at) {
            auto const& piece = entries[at];
            CHECK(piece["name"] == entry->name);
            CHECK(piece["type"] == (done == 0 ? "reg" : "chunk"));
            CHECK(piece.value("chunkOffset", std::size_t{0}) == done);
            auto const rest = content.size() - done;
            CHECK(piece.value("chunkSize", std::size_t{0}) == (rest >= chunk ? chunk : 0));
            auto const expected = content.substr(done, chunk);
            CHECK(piece["chunkDigest"] == hex_of(expected));
            auto const offset = piece["offset"].get<std::uint64_t>();
            CHECK(offsets.insert(offset).second);
            CHECK(layer.blob.substr(static_cast<std::size_t>(offset), 3) == "\x1f\x8b\x08");
            span_source from{std::string_view{layer.blob}.substr(static_cast<std::size_t>(offset))};
            gzip_decoder decoder;
            std::string plain(expected.size(), '\0');
            decoded_source whole{std::move(decoder), from};
            CHECK(read_fully(whole, {reinterpret_cast<std::byte*>(plain.data()), plain.size()}) ==
                  plain.size());
            CHECK(plain == expected);
            done += expected.size();
        }
    }
    CHECK(at == entries.size());
    CHECK(*offsets.rbegin() < layer.toc_offset());
}

TEST_CASE("estargz: bytes depend on the tar and the level alone") {
    auto const tar = sample_tar();
    auto const expected = packed(tar, 1);
    for (unsigned const workers : {0u, 1u, 2u, 8u})
        for (std::size_t const largest : {std::size_t{3000}, 100 * std::size_t{1000}, 50 * mebibyte}) {
            auto const layer = packed(tar, 1, workers, largest);
            CHECK(layer.blob == expected.blob);
            CHECK(layer.annotations == expected.annotations);
        }
    CHECK(packed(tar.substr(0, 0)).blob.size() > estargz_footer_size);
}

TEST_CASE("estargz: long runs of headers do not grow a member without bound") {
    string_sink out;
    tar_writer tar{out};
    add(tar, "first", "content");
    for (int i = 0; i < 9000; ++i) add(tar, "empty/" + std::to_string(i), "");
    add(tar, "last", "content");
    tar.finish();
    auto const layer = packed(out.text, 6, 2, 100'000);
    CHECK(unpack(estargz::decoder(), layer.blob) == out.text + layer.extension);
    CHECK(packed(out.text).blob == layer.blob);
    auto const entries = json::parse(layer.toc())["entries"];
    CHECK(entries.size() == 9002);
    std::size_t members = 0;
    for (std::size_t at = 0; (at = layer.blob.find(detail::gzip_header(6), at)) != std::string::npos; ++at)
        ++members;
    CHECK(members == 3 + 4 + 1); // three for the files, four for 4.4 MiB of headers, the table of contents
}

TEST_CASE("estargz: a tar without content, or without anything, is packed") {
    string_sink empty;
    tar_writer{empty}.finish();
    auto const layer = packed(empty.text);
    CHECK(unpack(estargz::decoder(), layer.blob) == empty.text + layer.extension);
    CHECK(json::parse(layer.toc())["entries"].empty());
    auto const nothing = packed("");
    CHECK(nothing.toc_offset() == 0);
    CHECK(unpack(estargz::decoder(), nothing.blob) == nothing.extension);
}

TEST_CASE("estargz: bytes behind the end of the tar are kept") {
    auto const tar = sample_tar() + std::string(20 * 512, '\0') + "what a converter left";
    auto const layer = packed(tar, 6, 2);
    CHECK(unpack(estargz::decoder(), layer.blob) == tar + layer.extension);
}

TEST_CASE("estargz: what cannot be expressed is refused by name") {
    auto const name =
        GENERATE("stargz.index.json", "./stargz.index.json", "a/..//stargz.index.json", "bad\xff");
    string_sink out;
    tar_writer tar{out};
    add(tar, "fine", "");
    add(tar, name, "{}");
    tar.finish();
    try {
        packed(out.text);
        FAIL("accepted");
    } catch (error const& e) {
        CHECK(e.code() == error_code::unsupported);
        CHECK(e.subject() == name);
    }
}

TEST_CASE("estargz: a name that only resembles the one of the table of contents is fine") {
    string_sink out;
    tar_writer tar{out};
    add(tar, "usr/stargz.index.json", "{}");
    add(tar, "stargz.index.json.bak", "{}");
    tar.finish();
    CHECK_NOTHROW(packed(out.text));
}

TEST_CASE("estargz: a tar that is none, or ends early, is refused") {
    auto const tar = sample_tar();
    CHECK_THROWS_AS(packed(noise(4096)), format_error);
    CHECK_THROWS_AS(packed(tar.substr(0, tar.size() / 2 + 100)), format_error);
    CHECK_THROWS_AS(packed(tar.substr(0, 700)), format_error);
}

TEST_CASE("estargz: a level out of range is refused when the encoder is made") {
    CHECK_THROWS_AS(estargz{.level = 10}.encoder({}), option_error);
    CHECK_THROWS_AS(estargz{.level = -2}.encoder({}), option_error);
}
