#include <shiplap/layer/header.hpp>

#include "support/catch.hpp"
#include "support/trees.hpp"

using namespace shiplap;

namespace {

/// The header of the only thing in a folder.
tar_entry header_in(temp_dir const& folder, header_policies policies = {}, timestamps_ref time = {}) {
    tree_walker walk{folder.path()};
    auto const* item = walk.next();
    REQUIRE(item != nullptr);
    auto const label = walk.label(item->path);
    auto entry = detail::make_header(*item, detail::entry_type_of(item->facts.st_mode).value(),
                                     policies.owners, time, label);
    entry.xattrs = detail::read_attributes(detail::attribute_place::of(*item), policies.xattrs, label);
    return entry;
}

bool set_attribute(std::string const& path, char const* name, std::string_view value) {
    return ::lsetxattr(path.c_str(), name, value.data(), value.size(), 0) == 0;
}

/// cap_net_raw+ep as the kernel stores it: vfs_cap_data, version 2.
constexpr std::string_view net_raw{"\1\0\0\2\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20};

} // namespace

TEST_CASE("a regular file's header", "[layer][header]") {
    temp_dir temp;
    trees::write(temp / "f", "12345", 0751, {1'600'000'000, 999'999'999});
    auto const entry = header_in(temp);
    CHECK(entry.name == "f");
    CHECK(entry.type == entry_type::regular);
    CHECK(entry.mode == 0751);
    CHECK(entry.size == 5);
    CHECK(entry.uid == ::geteuid());
    CHECK(entry.mtime == timestamp{1'600'000'000, 0});
    CHECK(entry.user_name.empty());
    CHECK(entry.group_name.empty());
    CHECK(entry.link_name.empty());
    CHECK(entry.xattrs.empty());
}

TEST_CASE("times are cut to the whole second before, then the policy is asked", "[layer][header]") {
    struct time_case {
        timestamp in, kept, clamped;
    };
    auto const [in, kept, clamped] = GENERATE(values<time_case>({
        {{0, 0}, {0, 0}, {0, 0}},
        {{1'500'000'000, 1}, {1'500'000'000, 0}, {1'500'000'000, 0}},
        {{1'500'000'001, 0}, {1'500'000'001, 0}, {1'500'000'000, 0}},
        {{-1, 500'000'000}, {-1, 0}, {-1, 0}},
        {{-2'000'000'000, 250'000'000}, {-2'000'000'000, 0}, {-2'000'000'000, 0}},
        {{9'000'000'000, 999'999'999}, {9'000'000'000, 0}, {1'500'000'000, 0}},
    }));
    temp_dir temp;
    trees::write(temp / "f", "");
    trees::set_time(temp / "f", in);
    clamp_timestamps const clamp{{1'500'000'000, 0}};
    CHECK(header_in(temp).mtime == kept);
    CHECK(header_in(temp, {}, clamp).mtime == clamped);
}

TEST_CASE("set-id and sticky bits are kept, the type of the file is not in the mode", "[layer][header]") {
    temp_dir temp;
    auto const mode = GENERATE(as<::mode_t>{}, 04755, 02755, 01777, 07777, 0000);
    if (mode == 0 && !trees::is_root()) return;
    SECTION("a file") {
        trees::write(temp / "x", "", mode);
    }
    SECTION("a directory") {
        std::filesystem::create_directory(temp / "x");
        REQUIRE(::chmod((temp / "x").c_str(), mode) == 0);
        CHECK(header_in(temp).name == "x/");
    }
    CHECK(header_in(temp).mode == mode);
}

TEST_CASE("targets of symbolic links are stored as they are", "[layer][header]") {
    temp_dir temp;
    auto const target =
        GENERATE(as<std::string>{}, "x", "../../out", "/abs", "a//b/./c/", "\xff\n", std::string(4000, 't'));
    REQUIRE(::symlink(target.c_str(), (temp / "l").c_str()) == 0);
    auto const entry = header_in(temp);
    CHECK(entry.type == entry_type::symbolic_link);
    CHECK(entry.link_name == target);
    CHECK(entry.size == 0);
    CHECK(entry.mode == 0777);
}

TEST_CASE("special files", "[layer][header]") {
    temp_dir temp;
    REQUIRE(::mkfifo((temp / "p").c_str(), 0600) == 0);
    CHECK(header_in(temp).type == entry_type::fifo);
    CHECK_FALSE(detail::entry_type_of(S_IFSOCK | 0777));
    if (!trees::is_root()) {
        WARN("needs root to make devices: not tested");
        return;
    }
    struct device {
        ::mode_t kind;
        unsigned number_major, number_minor;
        entry_type type;
    };
    auto const made = GENERATE(values<device>({
        {S_IFCHR, 1, 3, entry_type::character_device},
        {S_IFCHR, 0, 0, entry_type::character_device},
        {S_IFBLK, 8, 1, entry_type::block_device},
        {S_IFBLK, 4095, 1'048'575, entry_type::block_device},
    }));
    std::filesystem::remove(temp / "p");
    REQUIRE(::mknod((temp / "d").c_str(), made.kind | 0660,
                    ::gnu_dev_makedev(made.number_major, made.number_minor)) == 0);
    auto const entry = header_in(temp);
    CHECK(entry.type == made.type);
    CHECK(entry.device_major == made.number_major);
    CHECK(entry.device_minor == made.number_minor);
    CHECK(entry.size == 0);
}

TEST_CASE("owners", "[layer][header]") {
    temp_dir temp;
    trees::write(temp / "f", "");
    CHECK(header_in(temp, {root_owned, {}}).uid == 0);
    CHECK(header_in(temp, {root_owned, {}}).gid == 0);
    auto const given = header_in(temp, {owned_by(4'294'967'294, 7), {}});
    CHECK(given.uid == 4'294'967'294);
    CHECK(given.gid == 7);
    if (!trees::is_root()) {
        WARN("needs root to give files away: not tested");
        return;
    }
    REQUIRE(::chown((temp / "f").c_str(), 3'000'000'000, 2'097'152) == 0);
    CHECK(header_in(temp).uid == 3'000'000'000);
    CHECK(header_in(temp).gid == 2'097'152);
}

TEST_CASE("which extended attributes are stored is a policy", "[layer][header]") {
    temp_dir temp;
    trees::write(temp / "f", "");
    std::string const long_value(3'000, 'v');
    if (!set_attribute(temp / "f", "user.z", long_value)) {
        WARN("the file system has no user attributes: not tested");
        return;
    }
    REQUIRE(set_attribute(temp / "f", "user.a", std::string_view{"\0\n=", 3}));
    REQUIRE(set_attribute(temp / "f", "user.empty", ""));
    REQUIRE(set_attribute(temp / "f", "user.overlay.opaque", "y"));
    std::vector<extended_attribute> const user{
        {"user.a", std::string{"\0\n=", 3}}, {"user.empty", ""}, {"user.z", long_value}};

    CHECK(header_in(temp).xattrs.empty());
    CHECK(header_in(temp, {{}, xattr_policy::none}).xattrs.empty());
    CHECK(header_in(temp, {{}, xattr_policy::user_and_capabilities}).xattrs == user);

    if (!trees::is_root()) {
        WARN("needs root to give capabilities: not tested");
        return;
    }
    REQUIRE(set_attribute(temp / "f", "security.capability", net_raw));
    REQUIRE(set_attribute(temp / "f", "trusted.t", "x"));
    std::vector<extended_attribute> all{{"security.capability", std::string{net_raw}}};
    CHECK(header_in(temp).xattrs == all);
    CHECK(header_in(temp, {{}, xattr_policy::none}).xattrs.empty());
    all.insert(all.end(), user.begin(), user.end());
    CHECK(header_in(temp, {{}, xattr_policy::user_and_capabilities}).xattrs == all);
}

TEST_CASE("attributes are read the same way from an open file and by name", "[layer][header]") {
    temp_dir temp;
    trees::write(temp / "f", "");
    if (!set_attribute(temp / "f", "user.x", "value")) return;
    auto const file = detail::open_file(temp / "f", O_RDONLY);
    auto const folder = detail::open_file(temp.path(), O_RDONLY | O_DIRECTORY);
    tree_item item{"f", 0, {}, folder.get()};
    source_label const label{temp.path().native(), "f"};
    auto const policy = xattr_policy::user_and_capabilities;
    auto const found = detail::read_attributes(detail::attribute_place::of_open(file.get()), policy, label);
    CHECK(found == std::vector<extended_attribute>{{"user.x", "value"}});
    CHECK(found == detail::read_attributes(detail::attribute_place::of(item), policy, label));
}
