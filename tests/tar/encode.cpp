#include <shiplap/digest/digest.hpp>
#include <shiplap/tar/encode.hpp>

#include "support/catch.hpp"
#include "tar/support.hpp"

using namespace shiplap;
using namespace shiplap::detail;
using namespace tar_tests;
using namespace std::string_literals;

namespace {

struct golden {
    char const* what;
    tar_entry entry;
    char const* sha256_of_header;
};

template <class Change>
tar_entry changed(tar_entry entry, Change change) {
    change(entry);
    return entry;
}

tar_entry at_time(std::int64_t seconds, std::int32_t nanoseconds = 0) {
    return changed(regular("f"), [=](auto& e) { e.mtime = {seconds, nanoseconds}; });
}

// `folders` of 9 letters each, then a name.
std::string deep(std::size_t folders, std::size_t name) {
    std::string path;
    for (std::size_t i = 0; i < folders; ++i) path += "directory/";
    return path + std::string(name, 'n');
}

// The digests were computed with Go's archive/tar, Format: FormatPAX.
std::vector<golden> golden_headers() {
    auto const dir = [](std::string name) { return of_type(entry_type::directory, std::move(name)); };
    auto const link = [](std::string name, std::string to) {
        return of_type(entry_type::symbolic_link, std::move(name), std::move(to));
    };
    return {
        {"plain file",
         changed(regular("usr/bin/env", 1234),
                 [](auto& e) {
                     e.mode = 04755;
                     e.uid = 1;
                     e.gid = 2;
                     e.mtime = {1'600'000'000, 0};
                 }),
         "a900054e6afc3004126d240113693b4e7ce50bc7c602b27c7a0262eee9df96f5"},
        {"directory", dir("usr/bin/"), "eaf662d607b2d7cd8a8cc0d9041da3f31582e1cb98e99b68b136df6bfb15d98d"},
        {"symbolic link", link("a", "../b"),
         "1dd8ac9ca67ca7316456d0fbf9561686444e1e8618d70be7c0bcfd76337fadfb"},
        {"hard link", of_type(entry_type::hard_link, "c", "a/b"),
         "055ec47b4859ad13aeeada11baa1fe9327b740ba2b45f0347fc81af655849571"},
        {"fifo", of_type(entry_type::fifo, "pipe"),
         "41ba18d08e4e68832887d95b8b1a5f57bc814c0242bb2810823897c84cfab020"},
        {"character device",
         changed(of_type(entry_type::character_device, "null"),
                 [](auto& e) {
                     e.device_major = 4095;
                     e.device_minor = 1'048'575;
                 }),
         "060b75e35f8c2b674c51db51d28d5658e175bc3dda7efb6b93d33f98c2d3d563"},
        {"block device",
         changed(of_type(entry_type::block_device, "sda"), [](auto& e) { e.device_major = 8; }),
         "d6bcf26b0cbb91e0d6042019ac26ac03f19f2924a3bd6a643b0f7df848e622ab"},
        {"whiteout", changed(regular("a/.wh.b"), [](auto& e) { e.mode = 0; }),
         "d73f1aeb3e37c28b86ee1b365f7d6f857aeb81790f23978c394ec8cc41caa9ee"},
        {"name of 100 bytes", regular(std::string(100, 'n')),
         "54de308c6e4119e5e17de4829d75e3b588e1229ab22d209e1808e78853445a7c"},
        {"name of 101 bytes", regular(std::string(101, 'n')),
         "5799a384e0ea5d490a8d73a31de0426df88148342e4e88a790363a1d0cd8eeb4"},
        {"name of 155 bytes", regular(std::string(155, 'n')),
         "423a54177c7b419ad6a83430c2c0d6da5376a549bb49e96f871ec73620129390"},
        {"name of 256 bytes in one part", regular(std::string(256, 'n')),
         "d55538973fb2a9ca4b69f09651755ee61c8eef7f1a8d7cd95020c9eaf0eb9f65"},
        {"path of 100 bytes", regular(deep(9, 10)),
         "f5a33ce096406f5cb4921162e1de6fcbac6cea95b70c44a1dc644136cca0598f"},
        {"path of 101 bytes", regular(deep(9, 11)),
         "4048c6deeedb38cb673956ccb82625d5d9222d03cc6beccc36ce268827f4978d"},
        {"path of 155 bytes", regular(deep(15, 5)),
         "d9ad03a0ab8db4e9518bef406e7c6bd0cbdb1c5d255f018e9d3bbb8748d801e0"},
        {"path of 156 bytes", regular(deep(15, 6)),
         "2c1110f020ce1b70497d84e4f414180807e31a60c33c5fcb750b9b04666084bd"},
        {"path of 157 bytes", regular(deep(15, 7)),
         "51d61b59204bdbdb1006272bc78ff3a08031cfcce78aba2451b2c04a2857c839"},
        {"path of 256 bytes, split at 155", regular(std::string(155, 'p') + "/" + std::string(100, 'n')),
         "08b0763a11d5a0a964082da97a257b3486e9063bc7a1c6c227ab8032f43f9501"},
        {"path of 257 bytes", regular(std::string(156, 'p') + "/" + std::string(100, 'n')),
         "0c9092b2517ac1338c6bd7be16e9aa069a61aad9384d4736cfec249b9d991d06"},
        {"path of 256 bytes", regular(deep(15, 106)),
         "66aa938a75952b6836c86413fafb8c0f496f93e29b159ce7ae8300a9c4e48c19"},
        {"path of 300 bytes", regular(deep(29, 10)),
         "52149201b1a6f3aada1de04722f0d364c02b3a19d9dd375f85114888047d7f89"},
        {"long name below a short folder", regular("d/" + std::string(101, 'n')),
         "c32a9b8804f5d3d4fa2d42e51c5b980f040a89d7b5611d6289f1c70916e76226"},
        {"slash only at the front", regular("/" + std::string(100, 'n')),
         "56997726dc39d949d224cce9ff08a0005b58d37e713c5b1beacc7c0388bd0614"},
        {"name whose cut ends in a slash", regular(std::string(99, 'n') + "/" + std::string(101, 'n')),
         "c79cc2a353b15dd907400e6f6c7d57fc298a8890c4f0a4ff71e0e506360f5363"},
        {"name whose cut ends in two slashes", regular(std::string(98, 'n') + "//" + std::string(101, 'n')),
         "6ecff111a04042a23dc8e0887c72666a6736f93d751ab3851b0941e94faeded0"},
        {"directory of 100 bytes", dir(std::string(99, 'n') + "/"),
         "76006bc25fda9edd6414a5533008e7ba258ecb41d4671aec1f4d734d8fe8e7d5"},
        {"directory of 101 bytes", dir(std::string(100, 'n') + "/"),
         "2fb94e4122882c39f2628dee30aa131abdcc69e58f0f46f02557535ef80d58bc"},
        {"directory path of 156 bytes", dir(deep(15, 5) + "/"),
         "e3cc91b215aadb10f2270a7f66c13f0df5b33a00eb5283722b2f69c847b6eb44"},
        {"directory path of 157 bytes", dir(deep(15, 6) + "/"),
         "c112d7b36149d100af96e54161241e1d7f19161493a3d19fe67b77cda9777344"},
        {"directory path of 161 bytes", dir(deep(16, 0)),
         "342b0bd343aa6e5365fb7235c449dd0e9d2f21099f7dbe69ee35c0abe142f3c0"},
        {"directory path of 300 bytes", dir(deep(30, 0)),
         "f4783d7daa192970cc749ae3ab0f9d02328b12ecefd5440f0b26aac5900b4a08"},
        {"UTF-8 name",
         regular("gr\xc3\xb6\xc3\x9f"
                 "e/\xe2\x82\xac"),
         "4eeefeb7337fd1df46631d9ce8d9536696adc1bd097f1f96164050b4a6055728"},
        {"name of Latin-1",
         regular("gr\xf6\xdf"
                 "e"),
         "b12411db27c4302476b3e88bb5631b7003e1d4b77611e911ee4455dc327c2930"},
        {"name without any ASCII", regular("\xff\xfe"),
         "c959c29242787f583d5b37fbd5d2e097cb939128c645e1ce961679b614632e79"},
        {"UTF-8 directory", dir("\xc3\xa4/"),
         "061066fe8a25bc35de844ca7854bf91c99657c2de0610bf37dbd86c7fd9c5fc4"},
        {"UTF-8 directory below another", dir("a/\xc3\xa4/"),
         "0d134f37960090876f4bd8cdb5d036c979511ff65566bd62a3ff4de8a070b439"},
        {"long UTF-8 path", regular(deep(9, 0) + "\xc3\xa4" + std::string(60, 'n')),
         "57cc50325ea35a2f8d3d69a7f4eb35ec23d126b50ebf933ffc21ec9b5b61145c"},
        {"newline in a name", regular("a\nb"),
         "7e3af9168cdfd7ca5cf9bbf34c6943e7c17430ab2591863938d236fd22bae206"},
        {"control bytes and DEL in a name", regular("\x01\x1b[31m\x7f"),
         "77791dbc54c4ef370bfc6c6404c46cf0fe21bb03a5e9694f82da481628b11ba5"},
        {"dots in a long path", regular("./a/../" + deep(0, 120) + "/.." + "//./" + deep(0, 101)),
         "3bb301dc3bcccd7503f8b3964251b1165468806a6be2d8410f47adbe815cb226"},
        {"long path that climbs out", regular("../../" + deep(0, 101)),
         "481c876722848837cf35a16253cf17d32b9ca6e925dc0a95bfe1f1af17d74be6"},
        {"link target of 100 bytes", link("l", std::string(100, 't')),
         "bcd826c83b5ce373ac44e94f85988b9bd4125295849bae33c0bb57f8f7b10408"},
        {"link target of 101 bytes", link("l", std::string(101, 't')),
         "df5537761588580dc7290e23f3ffbcd852724a5d001d8540bf2e8315262e873c"},
        {"link target whose cut ends in a slash",
         link("l", std::string(99, 't') + "/" + std::string(20, 't')),
         "0ff024ba0edf784ccea6e3653c605aef8a296eaf164d515874959ff405aaf285"},
        {"UTF-8 link target", link("l", "\xc3\xa4"),
         "e65f9686cc7783a9827011937a385bd4694e4d54b952bc6cb8794b42894f9777"},
        {"long target and long path that could be split", link(deep(15, 5), std::string(150, 't')),
         "76499f1d3a8b95e35a6e3801308f13326a69abd8cfed2ceab8b0dcfa7b91e64f"},
        {"hard link to a long UTF-8 name", of_type(entry_type::hard_link, "h", deep(12, 3) + "\xc3\xa4"),
         "d313d5823128793019f395e2d8d540019450051825aeb57ccc283c4a154b197a"},
        {"largest uid of ustar", changed(regular("f"), [](auto& e) { e.uid = e.gid = 2'097'151; }),
         "444592b0d0765ec11b5db5ede2d8d7cdfec30e0bdc6f5f2e4bbc6294e26bd049"},
        {"uid and gid beyond ustar",
         changed(regular("f"),
                 [](auto& e) {
                     e.uid = 2'097'152;
                     e.gid = 4'294'967'295;
                 }),
         "0a0cfe378eb721d739c8c82af4f7f1e3666396bcc4424fc179891a8a7e7bdd4d"},
        {"uid beyond ustar and a path that could be split",
         changed(regular(deep(15, 5)), [](auto& e) { e.uid = 2'097'152; }),
         "dc2d07b6a6f5b16c0094fbad82b87896ad95b6d49a360aaf9a810f618ed37b53"},
        {"largest size of ustar", regular("f", 8'589'934'591),
         "d6dfa747e98e001d96454ca9bc9b8fb0b01b8eeafa841b48477fafa22429da05"},
        {"size of 8 GiB", regular("f", 8'589'934'592),
         "0a40a2e5fae7599ea5be3b0845fad60f133e4dc5efd625d249038881c6ac0d00"},
        {"size of 63 bits", regular("f", 9'223'372'036'854'775'807),
         "4b88376ca529cc46af1882b44616fd6aa42b432a6b8317518125d03a68ef118f"},
        {"time 0", at_time(0), "1c623727ffd09a059319fb1a9d54e20e3477702c4beaaa0bb4d8188f0565b2ce"},
        {"time before 1970", at_time(-1), "144993a3fb4d1ea19241bd7e287935675cd164e7dd5fb364453b9e134b89552c"},
        {"largest time of ustar", at_time(8'589'934'591),
         "1b024113f38c69cf22577fea6801e50ce112821dddf3a44d4f6c0d6355252296"},
        {"time beyond ustar", at_time(8'589'934'592),
         "3c9f5b4263e1040dbc226ae6879facf51a65cb7b2e213c6692481a016ef91f03"},
        {"year 1, which Go takes for no time", at_time(-62'135'596'800),
         "1c623727ffd09a059319fb1a9d54e20e3477702c4beaaa0bb4d8188f0565b2ce"},
        {"a second before that", at_time(-62'135'596'801),
         "729d993467be2b4dfa0fa3c6f5499e056f303bc24a3611e51a5d4f186d69f528"},
        {"a nanosecond after that", at_time(-62'135'596'800, 1),
         "df3b66dd87ba0245f741dfad88311835e0c2fff937996e2c92382a6db2c01a38"},
        {"half a second", at_time(1'600'000'000, 500'000'000),
         "aa019f16c51367236d717eb6e610803c70a0cf28d904844091daecf37fb48627"},
        {"a nanosecond", at_time(1'600'000'000, 1),
         "b6d1e2a26d405e947a210d10216e33250ded8091cb04720e0abbcb927866e096"},
        {"1.25 s before 1970", at_time(-2, 750'000'000),
         "d6be29e016cdfbd63b2cfe2ac46a4902d4497b99cb034f6f12651eb850fbcb12"},
        {"half a second and a path that could be split",
         changed(regular(deep(15, 5)),
                 [](auto& e) {
                     e.mtime = {1, 500'000'000};
                 }),
         "769611bc42ec190e370397a9284585233290efc373d13b7434b6b1ea7e810a37"},
        {"capability",
         changed(regular("ping"),
                 [](auto& e) {
                     e.xattrs = {{"security.capability", "\1\0\0\2\0\40\0\0\0\0\0\0\0\0\0\0\0\0\0\0"s}};
                 }),
         "afcc37d9db93edc05cb9ae004addbcfb4a08951c2f1748f4f3872d06df795b5d"},
        {"capability of a path that could be split",
         changed(regular(deep(15, 5)),
                 [](auto& e) {
                     e.xattrs = {{"security.capability", "\n=\0"s}};
                 }),
         "f3b100362f6141573b95a6a87991064e3f3c7f41c834bd7656331b2ee4f1abed"},
        {"several attributes",
         changed(regular("f"),
                 [](auto& e) {
                     e.xattrs = {{"user.a", ""}, {"user.\xc3\xa4", "2"}, {"user.b", "3"}, {"trusted.x", "4"}};
                 }),
         "bf68ea45c0c37b1c456e3425a05b1b21f6d0a285681918bce65ebbb04c77599f"},
        {"everything at once",
         changed(link(deep(29, 10) + "\xc3\xa4", "\xff"),
                 [](auto& e) {
                     e.uid = e.gid = 3'000'000;
                     e.mtime = {-1, 1};
                     e.user_name = "\xc3\xa4";
                     e.group_name = std::string(33, 'g');
                     e.xattrs = {{"user.a", "1"}};
                 }),
         "51e4b60bab8915cbe8d98ddf45ecc4eb3c231d71dd44a1532d99377b848a2de0"},
        {"names of user and group",
         changed(regular("f"),
                 [](auto& e) {
                     e.user_name = "root";
                     e.group_name = std::string(32, 'g');
                 }),
         "d14e8c27291c0528957845693cc3432785fbb6d7dd71f8521b5b42a322a3d1a3"},
    };
}

} // namespace

TEST_CASE("Headers are those of Go's archive/tar, byte for byte") {
    for (auto const& [what, entry, expected] : golden_headers()) {
        CAPTURE(what);
        CHECK(digest::of<sha256>(as_bytes(encode_header(entry))).encoded() == expected);
    }
}

TEST_CASE("Lengths of records around each change of digits") {
    for (std::size_t const size :
         {70u, 71u, 72u, 73u, 74u, 75u, 968u, 969u, 970u, 971u, 972u, 973u, 974u, 9970u}) {
        auto const entry = changed(regular("f"), [&](auto& e) {
            e.xattrs = {{"user.a", std::string(size, 'v')}};
        });
        auto const found = scan(encode_header(entry) + end_marker);
        REQUIRE(found.size() == 1);
        CHECK(found[0].entry == entry);
    }
}

TEST_CASE("An extended header says who it is for") {
    struct row {
        std::string name, stored;
    };
    auto const [name, stored] = GENERATE(values<row>({
        {"f", "PaxHeaders.0/f"},
        {"a/b/f", "a/b/PaxHeaders.0/f"},
        {"a/b/", "a/b/PaxHeaders.0"},
        {"/f", "/PaxHeaders.0/f"},
        {"./f", "PaxHeaders.0/f"},
        {"a//b/../c/./f", "a/c/PaxHeaders.0/f"},
        {"../f", "../PaxHeaders.0/f"},
        {"/../f", "/PaxHeaders.0/f"},
        {"a/..", "a"}, // as Go has it: the last part takes the folder PaxHeaders.0 away again
        {"..", "."},
        {"\xc3\xa4/f", "/PaxHeaders.0/f"},
        {"d/\xff", "d/PaxHeaders.0"},
        {std::string(87, 'd') + "/f", std::string(87, 'd') + "/PaxHeaders.0"},
        {std::string(120, 'd') + "/f", std::string(100, 'd')},
    }));
    CHECK(extended_header_name(name) == stored);
}

TEST_CASE("Device numbers beyond octal are kept") {
    auto const entry = changed(of_type(entry_type::block_device, "b"), [](auto& e) {
        e.device_major = 2'097'152;
        e.device_minor = 4'294'967'295;
    });
    CHECK(encode_header(entry).size() == tar_block_size);
    CHECK(scan(encode_header(entry) + end_marker).at(0).entry == entry);
}

TEST_CASE("What no header can say is refused, naming the entry") {
    struct row {
        tar_entry entry;
        char const* reason;
    };
    auto const [entry, reason] =
        GENERATE(values<row>({
            {regular(""), "needs a name"},
            {regular("a\0b"s), "NUL"},
            {regular("a/"), "may end in '/'"},
            {of_type(entry_type::fifo, "a/"), "may end in '/'"},
            {of_type(entry_type::symbolic_link, "a", "b\0c"s), "NUL"},
            {of_type(entry_type::symbolic_link, "a"), "target"},
            {of_type(entry_type::hard_link, "a"), "target"},
            {changed(regular("a"), [](auto& e) { e.user_name = "\0"s; }), "NUL"},
            {changed(regular("a"), [](auto& e) { e.mode = 010000; }), "mode"},
            {changed(of_type(entry_type::directory, "a/"), [](auto& e) { e.size = 1; }), "size"},
            {regular("a", 1ull << 63), "2^63"},
            {changed(regular("a"), [](auto& e) { e.gid = 1ull << 63; }), "2^63"},
            {changed(regular("a"), [](auto& e) { e.mtime.nanoseconds = -1; }), "nanoseconds"},
            {changed(regular("a"), [](auto& e) { e.mtime.nanoseconds = 1'000'000'000; }), "nanoseconds"},
            {changed(regular("a"),
                     [](auto& e) {
                         e.xattrs = {{"", "1"}};
                     }),
             "extended attribute ''"},
            {changed(regular("a"),
                     [](auto& e) {
                         e.xattrs = {{"user.a=b", "1"}};
                     }),
             "extended attribute 'user.a=b'"},
            {changed(regular("a"),
                     [](auto& e) {
                         e.xattrs = {{"user.\0"s, "1"}};
                     }),
             "extended attribute 'user.\\x00'"},
            {changed(regular("a"),
                     [](auto& e) {
                         e.xattrs = {{"user.a", "1"}, {"user.a", "2"}};
                     }),
             "twice"},
            {changed(regular("a"),
                     [](auto& e) {
                         e.xattrs = {{"user.a", std::string(1 << 20, 'x')}};
                     }),
             "1 MiB"},
        }));
    CAPTURE(reason);
    CHECK_THROWS_AS(encode_header(entry), format_error);
    CHECK_THROWS_WITH(
        encode_header(entry),
        contains(reason) &&
            contains(entry.name.empty() ? "write tar: " : "write tar '" + printable(entry.name)));
}
