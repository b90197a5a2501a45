#include <shiplap/codec/estargz.hpp>
#include <shiplap/codec/estargz_payload.hpp>
#include <shiplap/codec/gzip.hpp>
#include <shiplap/tar/writer.hpp>

#include "codec/support.hpp"

using namespace codec_tests;

namespace {

std::string const end_marker(2 * tar_block_size, '\0');

std::string tar_of_file(std::string_view name, std::string_view content, bool with_end = true) {
    string_sink out;
    tar_writer tar{out};
    tar_entry entry;
    entry.name = name;
    entry.size = content.size();
    tar.entry(entry);
    tar.write(as_bytes(content));
    tar.finish();
    if (!with_end) out.text.resize(out.text.size() - end_marker.size());
    return out.text;
}

std::string const archive = tar_of_file("some file", prose(2'000'000));
std::string const toc_tar = tar_of_file(estargz_toc_name, R"({"version":1})");

struct unpacked_layer {
    std::string archive, everything;
};

unpacked_layer unpack_layer(std::string_view packed, bool is_annotated = false, std::size_t piece = 65536,
                            std::size_t given = mebibyte) {
    struct slow_source {
        span_source all;
        std::size_t most;
        std::size_t read(bytes_span into) { return all.read(into.first(std::min(into.size(), most))); }
    };
    string_sink everything;
    estargz_payload payload{slow_source{span_source{packed}, given}, "layer", is_annotated, everything};
    std::string out;
    std::vector<std::byte> space(piece);
    while (auto const n = payload.read(space)) out.append(as_text(bytes_view{space}.first(n)));
    CHECK(payload.read(space) == 0);
    return {std::move(out), std::move(everything.text)};
}

} // namespace

TEST_CASE("estargz_payload: what was packed comes out, everything is seen", "[codec][estargz]") {
    auto const plain =
        GENERATE_COPY(as<std::string>{}, archive, end_marker, archive + std::string(8192, '\0'),
                      tar_of_file("a", "") + "and what follows");
    auto const blob = pack(estargz{}, plain);
    auto const all = unpack(gzip_decoder{}, blob);
    for (bool const is_annotated : {true, false}) {
        auto const found = unpack_layer(blob, is_annotated);
        CHECK((found.archive == plain));
        CHECK((found.everything == all));
    }
    CHECK(all.size() > plain.size());
    CHECK((unpack_layer(blob, true, 7, 100'000).archive == plain));
    CHECK((unpack_layer(blob, true, 1'000'000, 13).archive == plain));
}

TEST_CASE("estargz_payload: any other gzip passes whole", "[codec][estargz]") {
    auto const plain = GENERATE_COPY(as<std::string>{}, archive, archive + "what follows",
                                     tar_of_file("a", "", false) + toc_tar, // in one member
                                     tar_of_file("other", toc_tar));
    for (auto const& blob : {pack(gzip{}, plain), one_member(plain), one_member(plain) + one_member("")}) {
        auto const found = unpack_layer(blob);
        CHECK((found.archive == plain));
        CHECK((found.everything == plain));
    }
    // A file of that name is one like any other, if no footer follows.
    auto const own = tar_of_file(estargz_toc_name, prose(900'000)),
               more = own.substr(0, own.size() - 1024) + archive;
    for (auto const& bytes : {toc_tar, own, more})
        for (auto const& blob : {one_member(bytes), pack(gzip{}, bytes)})
            CHECK((unpack_layer(blob, false, 1000).archive == bytes));
    // A member whose start only looks like the table: it is the content of a file.
    auto const inside = tar_of_file("a.tar", toc_tar);
    auto const cut = one_member(inside.substr(0, 512)) + one_member(inside.substr(512));
    CHECK((unpack_layer(cut).archive == inside));
}

TEST_CASE("estargz_payload: an archive without its end gets it", "[codec][estargz]") {
    auto const part = GENERATE(as<std::string>{}, "", "some file");
    auto const open = part.empty() ? std::string{} : tar_of_file(part, prose(700), false);
    auto const members = open.empty() ? std::string{} : one_member(open);
    auto const footer = GENERATE(&estargz_footer, &stargz_footer);
    auto const found = unpack_layer(members + one_member(toc_tar) + footer(members.size()));
    CHECK(found.archive == open + end_marker);
    CHECK(found.everything == open + toc_tar);
}

TEST_CASE("estargz_payload: the table of contents may be elsewhere", "[codec][estargz]") {
    auto const open = tar_of_file("some file", prose(700), false);
    for (auto const& plain : {open, open + end_marker}) {
        auto const found = unpack_layer(one_member(plain) + external_toc_footer(), true);
        CHECK(found.archive == open + end_marker);
        CHECK(found.everything == plain);
    }
}

TEST_CASE("estargz_payload: a table of contents that is not where it should be is refused",
          "[codec][estargz]") {
    auto const first = one_member(archive), toc = one_member(toc_tar);
    struct row {
        char const* what;
        std::string blob;
        bool is_annotated;
        char const* fault;
    };
    auto const [what, blob, is_annotated, fault] = GENERATE_COPY(values<row>({
        {"annotated, without any", first, true, "has no table of contents"},
        {"annotated, the table inside a member", one_member(archive + toc_tar), true,
         "has no table of contents"},
        {"a footer alone", first + estargz_footer(first.size()), false, "where it is not"},
        {"an old footer alone", first + stargz_footer(first.size()), false, "where it is not"},
        {"an old footer that lies", first + toc + stargz_footer(0), false, "a footer that says so"},
        {"a footer that lies", first + toc + estargz_footer(first.size() + 1), false,
         "a footer that says so"},
        {"an empty member for a footer", first + toc + one_member(""), true, "a footer that says so"},
        {"no footer", first + toc, true, "a footer that says so"},
        {"two footers", first + toc + estargz_footer(first.size()) + estargz_footer(first.size()), true,
         "a footer that says so"},
        {"another member behind the table", first + toc + one_member("x") + estargz_footer(first.size()),
         true, "a footer that says so"},
        {"two files in the table, not annotated",
         first + one_member(tar_of_file(estargz_toc_name, "{}", false) + archive) +
             estargz_footer(first.size()),
         false, "where it is not"},
        {"two files in the table",
         first + one_member(tar_of_file(estargz_toc_name, "{}", false) + archive) +
             estargz_footer(first.size()),
         true, "a footer that says so"},
        {"something behind the table", first + one_member(toc_tar + "x") + estargz_footer(first.size()), true,
         "a footer that says so"},
        {"a file of that name, too large to wait for its end",
         one_member(tar_of_file(estargz_toc_name, prose(2'000'000), false) + archive), false,
         "a footer that says so"},
        {"a table without its end", first + one_member(toc_tar.substr(0, 600)) + estargz_footer(first.size()),
         true, "a footer that says so"},
    }));
    INFO(what);
    CHECK_THROWS_WITH(unpack_layer(blob, is_annotated), contains(fault) && contains("'layer'"));
}

TEST_CASE("estargz_payload: wherever a layer is cut, that is noticed", "[codec][estargz]") {
    auto const blob = pack(estargz{}, tar_of_file("some file", prose(3000)));
    for (std::size_t size = 0; size < blob.size(); ++size) {
        INFO(size);
        CHECK_THROWS_AS(unpack_layer(std::string_view{blob}.substr(0, size), true), format_error);
    }
}

TEST_CASE("estargz_payload: no damage of a blob is handed on unseen", "[codec][estargz]") {
    auto const plain = tar_of_file("some file", prose(3000));
    auto const blob = pack(estargz{}, plain);
    for (std::size_t at = 0; at < blob.size(); ++at) {
        auto damaged = blob;
        damaged[at] = static_cast<char>(damaged[at] ^ 0x10);
        INFO(at);
        std::optional<unpacked_layer> found;
        try {
            found = unpack_layer(damaged, true);
        } catch (error const&) {
            continue;
        }
        CHECK((found->archive == plain)); // it was the time of a member, or the like
    }
}
