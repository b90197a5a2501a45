#include <shiplap/tar/scanner.hpp>

#include "support/catch.hpp"
#include "tar/support.hpp"

#include <set>

using namespace shiplap;
using namespace tar_tests;
using namespace std::string_literals;
using event = tar_scanner::event;

namespace {

// An archive that has a bit of everything, and where in it an input may end without cutting an entry.
struct sample {
    std::string bytes;
    std::set<std::size_t> seams;
};

sample small_archive() {
    auto const big_id = [] {
        auto entry = regular("with/pax", 3);
        entry.uid = 3'000'000;
        return entry;
    }();
    std::vector<std::string> const parts{
        extension('g', record("comment", "x")),
        encode_header(regular("empty")),
        encode_header(of_type(entry_type::directory, "dir/")),
        extension('L', "long/name\0"s) + encode_header(regular("short", 5)) + padded("12345"),
        encode_header(big_id) + padded("abc"),
        std::string(tar_block_size, '\0'),
        std::string(tar_block_size, '\0'),
    };
    sample made{"", {0}};
    for (auto const& part : parts) made.seams.insert((made.bytes += part).size());
    return made;
}

bool throws_on(std::string_view bytes) {
    return !scan_error(bytes).empty();
}

} // namespace

TEST_CASE("What a writer wrote is found again, however the bytes are cut") {
    random_entries random{7};
    auto const entries = random.archive(150);
    auto const bytes = archive_of(entries);
    for (std::size_t const most : {1u, 3u, 511u, 512u, 513u, 100'000u}) {
        tar_scanner scanner{"a.tar"};
        CHECK(scan(scanner, bytes, [&] { return random.below(most) + 1; }) == entries);
        CHECK(scanner.at_end_marker());
        CHECK_FALSE(scanner.trailing_data());
        CHECK(scanner.offset() == bytes.size());
    }
}

TEST_CASE("Random archives round-trip") {
    for (std::uint64_t seed = 100; seed < 160; ++seed) {
        random_entries random{seed};
        auto const entries = random.archive(20);
        REQUIRE(scan(archive_of(entries)) == entries);
    }
}

TEST_CASE("Events come in order, with offsets") {
    auto big = regular("f", 5);
    big.uid = 3'000'000;
    auto const bytes =
        encode_header(regular("e")) + encode_header(big) + padded("12345") + end_marker + "tail";
    auto in = as_bytes(bytes);
    tar_scanner scanner{"a.tar"};
    CHECK(scanner.next(in) == event::entry);
    CHECK((scanner.entry_offset() == 0 && scanner.offset() == 512));
    CHECK(scanner.next(in) == event::entry);
    CHECK((scanner.entry_offset() == 512 && scanner.offset() == 512 + 3 * 512));
    CHECK(scanner.entry() == big);
    CHECK(scanner.next(in) == event::payload);
    CHECK(as_text(scanner.payload()) == "12345");
    CHECK(scanner.payload().data() == as_bytes(bytes).data() + 4 * 512); // no copy
    CHECK_FALSE(scanner.at_end_marker());
    CHECK(scanner.next(in) == event::end);
    CHECK(scanner.at_end_marker());
    CHECK(as_text(in) == "tail");
    CHECK_FALSE(scanner.trailing_data());
    CHECK(scanner.next(in) == event::need_more);
    CHECK(in.empty());
    CHECK(scanner.trailing_data());
    CHECK(scanner.offset() == bytes.size());
    CHECK(scanner.next(in) == event::need_more);
    scanner.finish();
}

TEST_CASE("An end marker is two zero blocks; none, or one at the very end, can be told apart") {
    auto const entry = encode_header(regular("e"));
    auto const ends_well = [&](std::string const& bytes) {
        tar_scanner scanner{"a.tar"};
        scan(scanner, bytes, [] { return std::size_t{100}; });
        return scanner.at_end_marker();
    };
    CHECK_FALSE(ends_well(""));
    CHECK_FALSE(ends_well(entry));
    CHECK_FALSE(ends_well(entry + end_marker.substr(512)));
    CHECK(ends_well(entry + end_marker));
    CHECK(ends_well(entry + end_marker + end_marker));
    CHECK_THAT(scan_error(entry + end_marker.substr(512) + entry),
               contains("single zero block") && contains("offset 1024"));
}

TEST_CASE("Between two entries is where a header may begin, and nowhere else") {
    auto const first = encode_header(regular("f", 3)) + padded("abc");
    auto const bytes =
        first + extension('x', record("comment", "c")) + encode_header(regular("g")) + end_marker;
    std::vector<std::size_t> found;
    tar_scanner scanner{"a.tar"};
    for (std::size_t at = 0; at < bytes.size(); ++at) {
        if (scanner.between_entries()) found.push_back(at);
        auto in = as_bytes(bytes).subspan(at, 1);
        while (scanner.next(in) != tar_scanner::event::need_more) {
        }
    }
    CHECK(found == std::vector<std::size_t>{0, first.size(), bytes.size() - end_marker.size()});
    CHECK_FALSE(scanner.between_entries());
}

TEST_CASE("An input that ends anywhere inside an entry is truncated") {
    auto const [bytes, seams] = small_archive();
    REQUIRE(scan(bytes).size() == 4);
    for (std::size_t size = 0; size < bytes.size(); ++size) {
        CAPTURE(size);
        auto const message = scan_error(std::string_view{bytes}.substr(0, size));
        if (seams.contains(size))
            CHECK(message.empty());
        else
            CHECK_THAT(message, contains("truncated") && contains("offset " + std::to_string(size)));
    }
    CHECK_THAT(scan_error(bytes.substr(0, bytes.size() - 1024 - 100)),
               contains("the content of entry 'with/pax'"));
    CHECK_THAT(scan_error(bytes.substr(0, 700)), contains("the header that starts at offset 0"));
}

TEST_CASE("A damaged header is refused, or the damage changes nothing") {
    auto const [bytes, seams] = small_archive();
    auto const entries = scan(bytes);
    std::size_t harmless = 0;
    for (std::size_t const header : {0u, 1024u, 1536u, 2048u, 3072u, 4096u, 5120u}) {
        REQUIRE(block_of(bytes.substr(header)).intact());
        for (std::size_t i = header; i < header + tar_block_size; ++i)
            for (char const flip : {'\x01', '\x20', '\xff'}) {
                auto damaged = bytes;
                damaged[i] = static_cast<char>(damaged[i] ^ flip);
                if (throws_on(damaged)) continue;
                ++harmless; // such as another terminator behind the checksum
                CAPTURE(i, flip);
                CHECK(scan(damaged) == entries);
            }
    }
    CHECK(harmless < 40);
}

TEST_CASE("The PAX size is the size") {
    auto const inner = encode_header(regular("smuggled"));
    auto const body = padded(std::string(512, 'x'));
    auto const pax = extension('x', record("size", "512"));
    auto const found =
        scan(pax + encode_header(regular("f", 0)) + inner + encode_header(regular("g")) + end_marker);
    REQUIRE(found.size() == 2);
    CHECK(found[0].payload == inner);
    CHECK(found[1].entry.name == "g");
}

TEST_CASE("What is not a regular file has no payload, whatever its size says") {
    for (char const flag : "123456"s) {
        CAPTURE(flag);
        auto link = of_type(entry_type::hard_link, "n", "t");
        auto const header =
            with_checksum(encode_header(link).replace(156, 1, 1, flag).replace(124, 12, "00000001000\0"s));
        auto const found = scan(header + encode_header(regular("next")) + end_marker);
        REQUIRE(found.size() == 2);
        CHECK(found[0].entry.size == 0);
        CHECK(found[1].entry.name == "next");
    }
}

TEST_CASE("Global records last until they are replaced or undone") {
    auto const file = encode_header(regular("f"));
    auto const bytes = extension('g', record("uid", "7") + record("gid", "8")) + file +
                       extension('x', record("uid", "70")) + file + file + extension('x', record("uid", "")) +
                       file + extension('g', record("uid", "")) + file + end_marker;
    auto const found = scan(bytes);
    std::vector<std::uint64_t> uids, gids;
    for (auto const& [entry, payload] : found) {
        uids.push_back(entry.uid);
        gids.push_back(entry.gid);
    }
    CHECK(uids == std::vector<std::uint64_t>{7, 70, 7, 0, 0});
    CHECK(gids == std::vector<std::uint64_t>{8, 8, 8, 8, 8});
}

TEST_CASE("GNU long names hold for one entry") {
    auto const link = encode_header(of_type(entry_type::symbolic_link, "n", "t"));
    auto const name = std::string(300, 'n'), target = std::string(400, 't');
    auto const found =
        scan(extension('K', target + '\0') + extension('L', name + '\0') + link + link + end_marker);
    REQUIRE(found.size() == 2);
    CHECK(found[0].entry == of_type(entry_type::symbolic_link, name, target));
    CHECK(found[1].entry == of_type(entry_type::symbolic_link, "n", "t"));
}

TEST_CASE("Archives that programs read in different ways are refused") {
    auto const file = encode_header(regular("f"));
    struct row {
        std::string bytes, reason;
    };
    auto const [bytes, reason] = GENERATE_COPY(values<row>({
        {std::string(512, 'x'), "checksum"},
        {std::string{file}.replace(0, 1, "g"), "checksum"},
        {std::string{file}.replace(148, 8, "\0\0\0\0\0\0\0\0"s), "checksum"},
        {extension('x', record("uid", "1")) + extension('x', record("gid", "1")) + file,
         "followed by another one"},
        {extension('x', record("uid", "1")) + extension('g', record("gid", "1")) + file,
         "followed by another one"},
        {extension('L', "name") + extension('g', record("gid", "1")) + file, "stands between"},
        {extension('x', record("uid", "1")) + end_marker, "followed by the end"},
        {extension('L', "name") + end_marker, "followed by the end"},
        {extension('L', "name") + extension('x', record("path", "other")) + file, "contradict"},
        {extension('x', "9 uid=1\n") + file, "malformed PAX record at byte 0"},
        {extension('x', record("uid", "1") + "7 gid=1\n") + file, "malformed PAX record at byte 8"},
        {extension('x', record("uid", "1") + "\0\0"s) + file, "malformed PAX record at byte 8"},
        {extension('x', record("path", "a\0b"s)) + file, "malformed PAX record"},
        {extension('x', "99999999 path=a\n") + file, "malformed PAX record"},
        {extension('x', record("GNU.sparse.major", "1")) + file, "sparse"},
        {extension('g', record("GNU.sparse.map", "0,1")) + file, "sparse"},
        {altered(regular("f"), 156, "S"), "sparse"},
        {altered(regular("f"), 156, "V"), "type 'V'"},
    }));
    CAPTURE(reason);
    CHECK_THAT(scan_error(bytes + end_marker),
               contains(reason) && contains("read tar 'a.tar': ") && contains("at offset "));
}

TEST_CASE("Sparse files and unknown types are unsupported rather than malformed") {
    for (auto const* flag : {"S", "D", "V", "M", "N", "X", "A"}) {
        try {
            scan(altered(regular("f"), 156, flag));
            FAIL("accepted " << flag);
        } catch (error const& failure) {
            CHECK(failure.code() == error_code::unsupported);
        }
    }
}

TEST_CASE("Limits hold to the byte") {
    auto const file = encode_header(regular("f"));
    auto const of_size = [](std::size_t size) {
        auto const empty = record("comment", std::string(size, 'c')).size() - size;
        return record("comment", std::string(size - empty, 'c'));
    };
    tar_limits limits;
    limits.max_pax = 200;
    limits.max_long_name = 200;
    limits.max_entries = 3;
    REQUIRE(of_size(200).size() == 200);
    CHECK(scan_error(extension('x', of_size(200)) + file, limits).empty());
    CHECK_THAT(scan_error(extension('x', of_size(201)) + file, limits), contains("201") && contains("200"));
    CHECK(scan_error(extension('g', of_size(200)) + file, limits).empty());
    CHECK_THAT(scan_error(extension('g', of_size(201)) + file, limits), contains("limit"));
    CHECK(scan_error(extension('L', std::string(200, 'n')) + file, limits).empty());
    CHECK_THAT(scan_error(extension('L', std::string(201, 'n')) + file, limits), contains("limit"));
    CHECK_THAT(scan_error(extension('K', std::string(201, 'n')) + file, limits), contains("limit"));
    CHECK(scan_error(file + file + file, limits).empty());
    CHECK_THAT(scan_error(file + file + file + file, limits), contains("limit of 3 entries"));

    auto const globals = [&](std::size_t headers) {
        std::string bytes;
        for (std::size_t i = 0; i < headers; ++i)
            bytes += extension('g', record("key" + std::to_string(i), std::string(96, 'v')));
        return bytes;
    };
    CHECK(scan_error(globals(2) + file, limits).empty());
    CHECK_THAT(scan_error(globals(3) + file, limits),
               contains("global records exceed the limit of 200 bytes"));

    CHECK(scan_error(extension('x', of_size(1 << 20)) + extension('L', std::string(1 << 16, 'n')) + file)
              .empty());
    CHECK_FALSE(scan_error(extension('x', of_size((1 << 20) + 1)) + file).empty());
    CHECK_FALSE(scan_error(extension('L', std::string((1 << 16) + 1, 'n')) + file).empty());
}

TEST_CASE("The claimed size of an extended header costs no memory") {
    auto const claim =
        with_checksum(extension('x', "").replace(124, 12, "\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff"s));
    CHECK_THAT(scan_error(claim), contains("9223372036854775807 bytes; the limit is 1048576"));
}

TEST_CASE("A payload may claim any size; it is then missing") {
    auto const message = scan_error(encode_header(regular("f", 9'223'372'036'854'775'807)) + "some");
    CHECK_THAT(message, contains("truncated") && contains("'f'"));
}

TEST_CASE("Random damage under a right checksum: an error or a result, never more than there is") {
    random_entries random{42};
    std::vector<std::string> archives;
    for (int i = 0; i < 8; ++i) archives.push_back(archive_of(random.archive(4)));
    archives.push_back(small_archive().bytes);
    std::size_t accepted = 0;
    for (int round = 0; round < 4000; ++round) {
        auto bytes = random.one_of(archives);
        for (auto changes = random.below(4) + 1; changes != 0; --changes) {
            auto const block = random.below(bytes.size() / tar_block_size) * tar_block_size;
            static std::string const interesting = "0178xgLKSD/ \n=9\xff\x80"s + '\0';
            for (auto bits = random.below(3) + 1; bits != 0; --bits)
                bytes[block + random.below(tar_block_size)] =
                    random.below(2) == 0 ? interesting[random.below(interesting.size())]
                                         : static_cast<char>(random.below(256));
            if (bytes.compare(block + 257, 5, "ustar") == 0)
                bytes.replace(block, tar_block_size, with_checksum(bytes.substr(block, tar_block_size)));
        }
        if (random.below(8) == 0) bytes.resize(random.below(bytes.size()));
        try {
            tar_scanner scanner{"fuzz"};
            std::size_t payload = 0;
            for (auto const& found : scan(scanner, bytes, [&] { return random.below(2000) + 1; })) {
                payload += found.payload.size();
                REQUIRE(found.payload.size() == found.entry.size);
                REQUIRE_FALSE(found.entry.name.empty());
                REQUIRE((found.entry.type == entry_type::directory) <= found.entry.name.ends_with('/'));
            }
            REQUIRE(payload <= bytes.size());
            REQUIRE(scanner.offset() == bytes.size());
            ++accepted;
        } catch (error const&) { // the other good outcome
        }
    }
    CHECK(accepted > 200);
    CHECK(accepted < 3800);
}
