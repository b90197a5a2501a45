#include <shiplap/tar/retimer.hpp>

#include "support/catch.hpp"
#include "tar/support.hpp"

using namespace tar_tests;

namespace {

constexpr timestamp limit{1'500'000'000, 0};

template <timestamp_policy P = clamp_timestamps>
std::string retimed(std::string_view bytes, P const& policy = P{limit}, std::size_t piece = 1 << 20) {
    tar_scanner scanner{"a.tar"};
    tar_retimer retimer{timestamps_ref{policy}};
    string_sink out;
    while (!bytes.empty()) {
        auto const given = bytes.substr(0, piece);
        bytes.remove_prefix(given.size());
        for (auto in = as_bytes(given); !in.empty();) {
            auto const before = in;
            auto const event = scanner.next(in);
            retimer.pass(before.first(before.size() - in.size()), event, scanner, out);
        }
    }
    scanner.finish();
    retimer.finish(out);
    return out.text;
}

tar_entry at_time(tar_entry entry, std::int64_t seconds) {
    entry.mtime.seconds = seconds;
    return entry;
}

std::string octal(std::int64_t seconds) {
    detail::tar_block block;
    block.put_signed({0, 12}, seconds);
    return std::string{block.all().substr(0, 12)};
}

std::string header_with_time(tar_entry const& entry, std::string_view field) {
    return altered(entry, 136, field);
}

} // namespace

TEST_CASE("tar_retimer: what this library writes comes out as if written with the other times") {
    random_entries random{7};
    for (int round = 0; round < 60; ++round) {
        auto entries = random.archive(12);
        for (auto& [entry, payload] : entries) {
            std::vector<std::int64_t> times{
                0, 1, limit.seconds - 1, limit.seconds, limit.seconds + 1, 1'600'000'000};
            bool const may_need_record = entry.name.size() <= 100; // a record changes where a long name is
            if (may_need_record) times.push_back(8'589'934'592);
            entry.mtime.seconds = random.one_of(times);
            if (!may_need_record) entry.mtime.nanoseconds = 0;
        }
        auto const before = archive_of(entries);
        for (auto& [entry, payload] : entries) entry.mtime = clamp_timestamps{limit}(entry.mtime);
        CHECK((retimed(before) == archive_of(entries)));
        CHECK((retimed(before, clamp_timestamps{limit}, 1 + random.below(700)) == archive_of(entries)));
    }
}

TEST_CASE("tar_retimer: any archive keeps all but its times") {
    random_entries random{8};
    for (int round = 0; round < 60; ++round) {
        auto entries = random.archive(12);
        auto const after = retimed(archive_of(entries) + std::string(512 * random.below(4), '\0'));
        for (auto& [entry, payload] : entries) entry.mtime = clamp_timestamps{limit}(entry.mtime);
        CHECK((scan(after) == entries));
        CHECK((retimed(after) == after));
    }
}

TEST_CASE("tar_retimer: nothing later, nothing changed") {
    auto const late = at_time(regular("f"), limit.seconds);
    auto const bytes =
        GENERATE_COPY(header_with_time(late, " 1234567    "), // any way to write a number
                      extension('x', record("mtime", "1499999999.123456789123") + record("atime", "") +
                                         record("comment", "c") + record("ctime", "nonsense")) +
                          encode_header(late),
                      extension('L', std::string(130, 'n') + '\0') + encode_header(late),
                      altered(at_time(regular(".wh.f"), 0), 257, "ustar  \0"));
    CHECK(retimed(bytes + end_marker) == bytes + end_marker);
    CHECK(retimed(bytes + end_marker + std::string(8192, '\0')) == bytes + end_marker);
}

TEST_CASE("tar_retimer: each place that holds a time") {
    auto const late = octal(1'600'000'000), there = octal(limit.seconds);
    auto const gnu = [](std::string const& mtime, std::string const& others) {
        auto block = encode_header(regular("f"));
        return with_checksum(
            block.replace(136, 12, mtime).replace(257, 8, "ustar  \0", 8).replace(345, 24, others));
    };
    auto const star = [](std::string const& mtime, std::string const& others) {
        auto block = encode_header(regular("f"));
        return with_checksum(
            block.replace(136, 12, mtime).replace(476, 24, others).replace(508, 4, "tar\0", 4));
    };
    auto const named = [](char type, std::string const& mtime, std::string const& body) {
        auto block = encode_header(regular("ext", body.size()));
        return with_checksum(block.replace(136, 12, mtime).replace(156, 1, 1, type)) + padded(body);
    };
    auto const file = [](std::string const& mtime) { return header_with_time(regular("f"), mtime); };
    std::string const absent(24, '\0'), unknown = record("SCHILY.fflags", "x") + record("comment", "\n=");
    std::string const many(473, 'c');
    struct row {
        char const* what;
        std::string before, after;
    };
    auto const [what, before, after] = GENERATE_COPY(values<row>({
        {"field", file(late), file(there)},
        {"field in base 256", file(octal(1LL << 40)), file(there)},
        {"GNU's fields", gnu(late, late + late), gnu(there, there + there)},
        {"GNU's fields that are not there", gnu(late, absent), gnu(there, absent)},
        {"star's fields", star(late, late + late), star(there, there + there)},
        {"the header of a long name", named('L', late, std::string(130, 'n')) + file(late),
         named('L', there, std::string(130, 'n')) + file(there)},
        {"records",
         named('x', late,
               unknown + record("mtime", "1600000000.5") + record("atime", "1500000000.000000001") +
                   record("ctime", "1500000001") + record("path", "g")) +
             file(late),
         named('x', there,
               unknown + record("atime", "1500000000") + record("ctime", "1500000000") +
                   record("path", "g")) +
             file(there)},
        {"global records", named('g', late, record("mtime", "1600000000.25") + unknown) + file(there),
         named('g', there, record("mtime", "1500000000") + unknown) + file(there)},
        {"a record that moves into the field",
         named('x', there, record("mtime", "99999999999")) + file(octal(0)), file(there)},
        {"one of two records",
         named('x', there, record("mtime", "5") + record("mtime", "1600000000")) + file(octal(0)),
         named('x', there, record("mtime", "5") + record("mtime", "1500000000")) + file(octal(0))},
        {"a record that hides a global one",
         named('g', there, record("mtime", "5")) + named('x', there, record("mtime", "1600000000")) +
             file(late),
         named('g', there, record("mtime", "5")) + named('x', there, record("mtime", "1500000000")) +
             file(there)},
        {"a body that becomes a block shorter",
         named('x', there, record("comment", many) + record("atime", "1600000000.123456789")) + file(there),
         named('x', there, record("comment", many) + record("atime", "1500000000")) + file(there)},
    }));
    INFO(what);
    for (std::size_t const piece : {1u, 300u, 512u, 100'000u})
        CHECK((retimed(before + end_marker, clamp_timestamps{limit}, piece) == after + end_marker));
}

TEST_CASE("tar_retimer: a limit before 1970") {
    clamp_timestamps const policy{{-60, 0}};
    auto const whiteout = encode_header(regular("d/.wh.gone"));
    auto const after = retimed(encode_header(at_time(regular("f"), 5)) + whiteout + end_marker, policy);
    CHECK(scan(after)[0].entry.mtime == timestamp{-60, 0});
    CHECK(after.substr(tar_block_size, tar_block_size) == whiteout);
}

TEST_CASE("tar_retimer: any function of times will do, and a fraction needs a record") {
    struct {
        timestamp operator()(timestamp time) const { return {time.seconds + 1, 500'000'000}; }
    } const later;
    CHECK(scan(retimed(encode_header(at_time(regular("f"), 5)) + end_marker, later))[0].entry.mtime ==
          timestamp{6, 0});
    auto with_record = regular("f");
    with_record.mtime = {5, 250'000'000};
    CHECK(scan(retimed(encode_header(with_record) + end_marker, later))[0].entry.mtime ==
          timestamp{6, 500'000'000});
}
