#include <shiplap/sink/extraction.hpp>

#include "support/catch.hpp"
#include "support/trees.hpp"
#include "support/unprivileged.hpp"

#include <filesystem>

#include <sys/xattr.h>

using namespace shiplap;
namespace fs = std::filesystem;

namespace {

struct ::stat stat_of(std::string const& path) {
    struct ::stat facts {};
    if (::lstat(path.c_str(), &facts) != 0) throw system_error{"stat", path, errno};
    return facts;
}

std::string xattr_of(std::string const& path, char const* name) {
    std::string value(1000, '\0');
    auto const size = ::getxattr(path.c_str(), name, value.data(), value.size());
    return size < 0 ? "none" : value.substr(0, static_cast<std::size_t>(size));
}

/// Does this file system have user attributes?
bool has_user_xattrs(std::string const& path) {
    return ::setxattr(path.c_str(), "user.probe", "x", 1, 0) == 0;
}

struct heard {
    std::vector<std::string> texts;
    void operator()(progress_event const& event) { texts.emplace_back(event.text); }
};

tar_entry entry_of(entry_type type, std::string name, std::uint32_t mode, timestamp mtime = {}) {
    tar_entry entry;
    entry.type = type;
    entry.name = std::move(name);
    entry.mode = mode;
    entry.mtime = mtime;
    return entry;
}

unique_fd make_file(std::string const& path) {
    return detail::open_file(path, O_CREAT | O_WRONLY, 0600);
}

} // namespace

TEST_CASE("attributes that change how the host sees files are left out", "[extraction]") {
    using detail::xattr_verdict;
    struct example {
        std::string name;
        xattr_verdict verdict;
    };
    auto const [name, verdict] = GENERATE(values<example>({
        {"security.capability", xattr_verdict::set},
        {"user.mime_type", xattr_verdict::set},
        {"user.", xattr_verdict::set},
        {"trusted.overlay.opaque", xattr_verdict::drop_silently},
        {"trusted.overlay.redirect", xattr_verdict::drop_silently},
        {"user.overlay.whiteout", xattr_verdict::drop_silently},
        {"security.selinux", xattr_verdict::drop_with_warning},
        {"security.capability2", xattr_verdict::drop_with_warning},
        {"security.ima", xattr_verdict::drop_with_warning},
        {"system.posix_acl_access", xattr_verdict::drop_with_warning},
        {"trusted.other", xattr_verdict::drop_with_warning},
        {"unknown", xattr_verdict::drop_with_warning},
        {"", xattr_verdict::drop_with_warning},
        {std::string("user.a\0b", 8), xattr_verdict::drop_with_warning},
    }));
    CAPTURE(name);
    CHECK(detail::judge_xattr(name) == verdict);
}

TEST_CASE("a warning is told once, and not too many are", "[extraction]") {
    heard out;
    detail::warnings warn{progress_ref{out}};
    warn("one");
    warn("one");
    CHECK(out.texts == std::vector<std::string>{"one"});
    for (int i = 0; i < 1000; ++i) warn(std::to_string(i));
    CHECK(out.texts.size() == 101);
    CHECK(out.texts.back() == "there are more warnings like these");
}

TEST_CASE("metadata is exact, whatever the umask", "[extraction]") {
    temp_dir const tmp;
    auto const umask_before = ::umask(GENERATE(0u, 077u, 0777u));
    auto const mode = GENERATE(0u, 0644u, 04755u, 02755u, 07777u, 01000u);
    auto entry = entry_of(entry_type::regular, "file", mode, {1'234'567'890, 123'456'789});
    entry.uid = entry.gid = trees::is_root() ? 12'345 : ::geteuid();
    detail::metadata_writer writer{extraction_options{}};
    writer.finish_file(make_file(tmp / "file").get(), entry);
    REQUIRE(::mkfifo((tmp / "fifo").c_str(), 0600) == 0);
    entry.type = entry_type::fifo;
    auto const folder = detail::open_file(tmp.path(), O_PATH | O_DIRECTORY);
    writer.finish_special(folder.get(), "fifo", entry);
    ::umask(umask_before);

    for (auto const* name : {"file", "fifo"}) {
        CAPTURE(name);
        auto const facts = stat_of(tmp / name);
        CHECK((facts.st_mode & 07777) == mode);
        CHECK(facts.st_uid == entry.uid);
        CHECK(facts.st_mtim.tv_sec == 1'234'567'890);
        CHECK(facts.st_mtim.tv_nsec == 123'456'789);
        CHECK(facts.st_atim.tv_sec == 1'234'567'890);
    }
}

TEST_CASE("metadata of a link does not reach what it names", "[extraction]") {
    temp_dir const tmp;
    trees::write(tmp / "precious", "text", 0600, {5, 0});
    fs::create_symlink("precious", tmp / "link");
    auto const folder = detail::open_file(tmp.path(), O_PATH | O_DIRECTORY);
    auto entry = entry_of(entry_type::symbolic_link, "link", 0777, {77, 0});
    entry.uid = entry.gid = trees::is_root() ? 12'345 : ::geteuid();
    heard out;
    entry.xattrs = {{"trusted.overlay.opaque", "y"}, {"user.note", "text"}};
    detail::metadata_writer{extraction_options{.progress = progress_ref{out}}}.finish_special(folder.get(),
                                                                                              "link", entry);
    CHECK(stat_of(tmp / "link").st_mtim.tv_sec == 77);
    CHECK(stat_of(tmp / "link").st_uid == entry.uid);
    CHECK(stat_of(tmp / "precious").st_mtim.tv_sec == 5);
    CHECK(stat_of(tmp / "precious").st_uid == ::geteuid());
    CHECK((stat_of(tmp / "precious").st_mode & 07777) == 0600);
    REQUIRE(out.texts.size() == 1);
    CHECK(out.texts[0].find("user.note") != std::string::npos);
}

TEST_CASE("times that the file system cannot hold are no error", "[extraction]") {
    temp_dir const tmp;
    auto const seconds =
        GENERATE(values<std::int64_t>({std::numeric_limits<std::int64_t>::min(), -5'000'000'000, -1,
                                       8'589'934'592, std::numeric_limits<std::int64_t>::max()}));
    auto const entry = entry_of(entry_type::regular, "file", 0644, {seconds, 999'999'999});
    detail::metadata_writer writer{extraction_options{.ownership = ownership_policy::none}};
    writer.finish_file(make_file(tmp / "file").get(), entry);
    if (seconds == -1) CHECK(stat_of(tmp / "file").st_mtim.tv_sec == -1);
    if (seconds == 8'589'934'592) CHECK(stat_of(tmp / "file").st_mtim.tv_sec > 4'000'000'000);
}

TEST_CASE("ownership follows the policy", "[extraction]") {
    temp_dir const tmp;
    auto entry = entry_of(entry_type::regular, "file", 04755);
    entry.uid = 12'345;
    entry.gid = 54'321;
    auto const finish = [&](ownership_policy policy) {
        detail::metadata_writer{extraction_options{.ownership = policy}}.finish_file(
            make_file(tmp / "file").get(), entry);
        return stat_of(tmp / "file").st_uid;
    };
    CHECK(finish(ownership_policy::none) == ::geteuid());
    if (!trees::is_root()) {
        WARN("not root: that owners are kept is not tested");
        CHECK(finish(ownership_policy::automatic) == ::geteuid());
        CHECK_THROWS_AS(finish(ownership_policy::keep), system_error);
        return;
    }
    CHECK(finish(ownership_policy::automatic) == 12'345);
    CHECK((stat_of(tmp / "file").st_mode & 07777) == 04755);
    CHECK(finish(ownership_policy::keep) == 12'345);

    entry.uid = 0xffff'fffe;
    CHECK(finish(ownership_policy::keep) == 0xffff'fffe);
    entry.uid = GENERATE(values<std::uint64_t>({0xffff'ffff, 0x1'0000'0000, std::uint64_t{1} << 62}));
    try {
        finish(ownership_policy::keep);
        FAIL("accepted");
    } catch (error const& refusal) {
        CHECK(refusal.code() == error_code::unsafe_entry);
        CHECK(refusal.subject() == "file");
    }
}

TEST_CASE("attributes are set, and those of a lower directory go", "[extraction]") {
    temp_dir const tmp;
    fs::create_directory(tmp / "d");
    if (!has_user_xattrs(tmp / "d")) {
        WARN("no user attributes on this file system: not tested");
        return;
    }
    heard out;
    detail::metadata_writer writer{
        extraction_options{.ownership = ownership_policy::none, .progress = progress_ref{out}}};
    auto entry = entry_of(entry_type::directory, "d/", 0755);
    entry.xattrs = {
        {"security.selinux", "label"}, {"user.kept", std::string("a\0b", 3)}, {"user.overlay.opaque", "y"}};
    auto const fd = detail::open_file(tmp / "d", O_RDONLY | O_DIRECTORY);
    writer.begin_directory(fd.get(), entry, false);
    CHECK(xattr_of(tmp / "d", "user.probe") == "none");
    CHECK(xattr_of(tmp / "d", "user.kept") == std::string("a\0b", 3));
    CHECK(xattr_of(tmp / "d", "user.overlay.opaque") == "none");
    REQUIRE(out.texts.size() == 1);
    CHECK(out.texts[0].find("security.selinux") != std::string::npos);

    entry.xattrs = {{"user.too_long", std::string(70'000, 'x')}};
    CHECK_THROWS_AS(writer.begin_directory(fd.get(), entry, false), system_error);
}

TEST_CASE("capabilities need privileges; without them there is a warning", "[extraction]") {
    static constexpr char capability[] =
        "\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0"; // v2, cap_net_bind_service
    temp_dir const tmp;
    hand_over(tmp.path());
    auto entry = entry_of(entry_type::regular, "file", 0755);
    entry.uid = entry.gid = trees::is_root() ? 12'345 : ::geteuid();
    entry.xattrs = {{"security.capability", std::string(capability, 20)}};
    auto const path = tmp / "file";
    auto const said = run_unprivileged([&] {
        heard out;
        detail::metadata_writer{extraction_options{.progress = progress_ref{out}}}.finish_file(
            make_file(path).get(), entry);
        if (out.texts.size() != 1 || out.texts[0].find("security.capability") == std::string::npos)
            throw std::runtime_error{"no warning"};
    });
    CHECK(said == "");
    if (!trees::is_root()) return;
    detail::metadata_writer{extraction_options{}}.finish_file(make_file(path).get(), entry);
    CHECK(xattr_of(path, "security.capability") ==
          std::string(capability, 20)); // the change of owner came first
}
