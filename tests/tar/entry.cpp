#include <shiplap/tar/entry.hpp>

#include "support/catch.hpp"

#include <limits>

using namespace shiplap;

TEST_CASE("Timestamps order by seconds, then by nanoseconds, also before 1970") {
    std::vector<timestamp> const ascending{{std::numeric_limits<std::int64_t>::min(), 0},
                                           {-2, 0},
                                           {-2, 750'000'000}, // 1.25 s before 1970
                                           {-1, 0},
                                           {0, 0},
                                           {0, 1},
                                           {1, 0}};
    for (std::size_t i = 0; i < ascending.size(); ++i)
        for (std::size_t k = 0; k < ascending.size(); ++k) {
            CHECK((ascending[i] < ascending[k]) == (i < k));
            CHECK((ascending[i] == ascending[k]) == (i == k));
        }
}

TEST_CASE("The values of entry_type are the typeflags of POSIX") {
    CHECK(static_cast<char>(entry_type::regular) == '0');
    CHECK(static_cast<char>(entry_type::hard_link) == '1');
    CHECK(static_cast<char>(entry_type::symbolic_link) == '2');
    CHECK(static_cast<char>(entry_type::character_device) == '3');
    CHECK(static_cast<char>(entry_type::block_device) == '4');
    CHECK(static_cast<char>(entry_type::directory) == '5');
    CHECK(static_cast<char>(entry_type::fifo) == '6');
}

TEST_CASE("Entries are equal if every field is") {
    tar_entry const plain;
    auto const changed = [](auto change) {
        tar_entry entry;
        change(entry);
        return entry;
    };
    CHECK(plain == tar_entry{});
    CHECK_FALSE(plain == changed([](auto& e) { e.name = "n"; }));
    CHECK_FALSE(plain == changed([](auto& e) { e.type = entry_type::fifo; }));
    CHECK_FALSE(plain == changed([](auto& e) { e.mode = 1; }));
    CHECK_FALSE(plain == changed([](auto& e) { e.uid = 1; }));
    CHECK_FALSE(plain == changed([](auto& e) { e.gid = 1; }));
    CHECK_FALSE(plain == changed([](auto& e) { e.size = 1; }));
    CHECK_FALSE(plain == changed([](auto& e) { e.mtime.nanoseconds = 1; }));
    CHECK_FALSE(plain == changed([](auto& e) { e.link_name = "l"; }));
    CHECK_FALSE(plain == changed([](auto& e) { e.device_minor = 1; }));
    CHECK_FALSE(plain == changed([](auto& e) { e.user_name = "u"; }));
    CHECK_FALSE(plain == changed([](auto& e) { e.xattrs = {{"user.a", ""}}; }));
}
