#include <shiplap/layer/compare.hpp>

#include "support/catch.hpp"
#include "support/trees.hpp"

using namespace shiplap;

namespace {

/// Compares the only things in two folders.
bool same(temp_dir const& lower, temp_dir const& upper, bool open_files = true, xattr_policy xattrs = {}) {
    tree_walker before{lower.path()}, after{upper.path()};
    return detail::file_comparison{before, after, xattrs, open_files}.same(*before.next(), *after.next());
}

} // namespace

TEST_CASE("when two files are the same", "[layer][compare]") {
    struct file {
        std::string content = "abc";
        ::mode_t mode = 0644;
        timestamp time{1'600'000'000, 0};
    };
    struct file_case {
        char const* name;
        file lower, upper;
        bool same, same_unread;
    };
    timestamp const fine{1'600'000'000, 5};
    auto const c = GENERATE_COPY(values<file_case>({
        {"nothing differs", {}, {}, true, true},
        {"nothing differs, sub-second times", {.time = fine}, {.time = fine}, true, true},
        {"content, whole seconds", {}, {.content = "abd"}, false, true},
        {"content, sub-second times: not looked at",
         {.time = fine},
         {.content = "abd", .time = fine},
         true,
         true},
        {"size", {}, {.content = "abcd"}, false, false},
        {"mode", {}, {.mode = 0640}, false, false},
        {"set-id bit", {}, {.mode = 04644}, false, false},
        {"second", {}, {.time = {1'600'000'001, 0}}, false, false},
        {"nanosecond", {.time = fine}, {.time = {1'600'000'000, 6}}, false, false},
        {"nanosecond of one alone", {}, {.time = fine}, false, false},
        {"both empty", {.content = ""}, {.content = ""}, true, true},
        {"last byte of a large file",
         {.content = std::string(600'000, 'x') + 'y'},
         {.content = std::string(600'001, 'x')},
         false,
         true},
    }));
    INFO(c.name);
    temp_dir lower, upper;
    trees::write(lower / "f", c.lower.content, c.lower.mode, c.lower.time);
    trees::write(upper / "f", c.upper.content, c.upper.mode, c.upper.time);
    CHECK(same(lower, upper) == c.same);
    CHECK(same(lower, upper, false) == c.same_unread);
}

TEST_CASE("when other things are the same", "[layer][compare]") {
    temp_dir lower, upper;
    auto const link = [](temp_dir const& folder, char const* target, timestamp time) {
        std::filesystem::create_symlink(target, folder / "f");
        trees::set_time(folder / "f", time);
    };
    auto const directory = [](temp_dir const& folder, ::mode_t mode, timestamp time) {
        std::filesystem::create_directory(folder / "f");
        REQUIRE(::chmod((folder / "f").c_str(), mode) == 0);
        trees::set_time(folder / "f", time);
    };
    SECTION("links with one target") {
        link(lower, "abc", {5, 0});
        link(upper, "abc", {5, 0});
        CHECK(same(lower, upper));
    }
    SECTION("links with another target of that length") {
        link(lower, "abc", {5, 0});
        link(upper, "abd", {5, 0});
        CHECK_FALSE(same(lower, upper));
    }
    SECTION("directories, whatever their times") {
        directory(lower, 0755, {5, 0});
        directory(upper, 0755, {6, 0});
        CHECK(same(lower, upper));
    }
    SECTION("directories with other modes") {
        directory(lower, 0755, {5, 0});
        directory(upper, 0750, {5, 0});
        CHECK_FALSE(same(lower, upper));
    }
    SECTION("kinds") {
        directory(lower, 0777, {5, 0});
        link(upper, "x", {5, 0});
        CHECK_FALSE(same(lower, upper));
    }
    SECTION("names of one inode, without a look at anything else") {
        trees::write(lower / "f", "x", 0000, {5, 0});
        REQUIRE(::link((lower / "f").c_str(), (upper / "f").c_str()) == 0);
        CHECK(same(lower, upper));
    }
    SECTION("fifos") {
        for (auto const* folder : {&lower, &upper}) {
            REQUIRE(::mkfifo((*folder / "f").c_str(), 0644) == 0);
            trees::set_time(*folder / "f", {5, 0});
        }
        CHECK(same(lower, upper));
    }
}

TEST_CASE("attributes count as far as they are stored", "[layer][compare]") {
    temp_dir lower, upper;
    for (auto const* folder : {&lower, &upper}) trees::write(*folder / "f", "");
    if (::setxattr((upper / "f").c_str(), "user.x", "1", 1, 0) != 0) {
        WARN("the file system has no user attributes: not tested");
        return;
    }
    CHECK(same(lower, upper));
    CHECK(same(lower, upper, true, xattr_policy::none));
    CHECK_FALSE(same(lower, upper, true, xattr_policy::user_and_capabilities));
    if (!trees::is_root()) return;
    std::string_view const value{"\1\0\0\2\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20};
    REQUIRE(::setxattr((upper / "f").c_str(), "security.capability", value.data(), value.size(), 0) == 0);
    CHECK_FALSE(same(lower, upper));
    CHECK(same(lower, upper, true, xattr_policy::none));
}

TEST_CASE("owners and device numbers count", "[layer][compare]") {
    if (!trees::is_root()) {
        WARN("needs root: not tested");
        return;
    }
    temp_dir lower, upper;
    auto const device = [](temp_dir const& folder, unsigned minor_number, ::uid_t uid) {
        REQUIRE(::mknod((folder / "f").c_str(), S_IFCHR | 0644, ::gnu_dev_makedev(5, minor_number)) == 0);
        REQUIRE(::chown((folder / "f").c_str(), uid, 0) == 0);
        trees::set_time(folder / "f", {5, 0});
    };
    device(lower, 1, 0);
    SECTION("same") {
        device(upper, 1, 0);
        CHECK(same(lower, upper));
    }
    SECTION("number") {
        device(upper, 2, 0);
        CHECK_FALSE(same(lower, upper));
    }
    SECTION("owner") {
        device(upper, 1, 7);
        CHECK_FALSE(same(lower, upper));
    }
}
