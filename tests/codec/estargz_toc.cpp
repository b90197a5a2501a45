#include <shiplap/codec/estargz_toc.hpp>
#include <shiplap/tar/entry.hpp>

#include "support/catch.hpp"

using namespace shiplap;

namespace {

tar_entry of_type(entry_type type, std::string name) {
    tar_entry entry;
    entry.name = std::move(name);
    entry.type = type;
    entry.mode = 0755;
    return entry;
}

std::string rendered(estargz_toc const& toc) {
    string_sink out;
    toc.render(out);
    return out.text;
}

} // namespace

TEST_CASE("an empty table of contents") {
    CHECK(rendered(estargz_toc{}) == "{\n\t\"version\": 1,\n\t\"entries\": []\n}");
}

TEST_CASE("every type of entry, with the members and the order of the reference") {
    estargz_toc toc;
    auto directory = of_type(entry_type::directory, "dir/");
    directory.mtime = {1'700'000'000, 1};
    directory.xattrs = {{"user.k", "v"}};
    toc.add_entry(directory);
    auto empty = of_type(entry_type::regular, "dir/empty");
    empty.uid = 7;
    empty.gid = 8;
    empty.user_name = "u";
    empty.group_name = "g";
    toc.add_entry(empty);
    auto small = empty;
    small.name = "dir/small";
    small.size = 3;
    toc.add_entry(small);
    toc.add_chunk(100, std::string(32, '\x11'));
    auto large = of_type(entry_type::regular, "large");
    large.size = 2 * estargz_toc::chunk_size + 1;
    toc.add_entry(large);
    toc.add_file_digest(std::string(32, '\x22'));
    for (char i = 3; i < 6; ++i) toc.add_chunk(200u + static_cast<unsigned>(i), std::string(32, i));
    auto link = of_type(entry_type::symbolic_link, "link");
    link.link_name = "dir/small";
    toc.add_entry(link);
    auto hard = of_type(entry_type::hard_link, "hard");
    hard.link_name = "large";
    toc.add_entry(hard);
    auto device = of_type(entry_type::character_device, "null");
    device.device_major = 1;
    device.device_minor = 3;
    toc.add_entry(device);
    auto exact = of_type(entry_type::regular, "exact");
    exact.size = estargz_toc::chunk_size;
    exact.mode = 04000;
    toc.add_entry(exact);
    toc.add_chunk(300, std::string(32, '\x06'));
    toc.add_entry(of_type(entry_type::fifo, "fifo"));

    auto const hex = [](std::string const& byte) {
        std::string out = "sha256:";
        for (int i = 0; i < 32; ++i) out += byte;
        return out;
    };
    CHECK(rendered(toc) == R"({
	"version": 1,
	"entries": [
		{
			"name": "dir/",
			"type": "dir",
			"modtime": "2023-11-14T22:13:20Z",
			"mode": 493,
			"xattrs": {
				"user.k": "dg=="
			}
		},
		{
			"name": "dir/empty",
			"type": "reg",
			"mode": 493,
			"uid": 7,
			"gid": 8,
			"userName": "u",
			"groupName": "g",
			"digest": "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
		},
		{
			"name": "dir/small",
			"type": "reg",
			"size": 3,
			"mode": 493,
			"uid": 7,
			"gid": 8,
			"offset": 100,
			"digest": ")" +
                               hex("11") + R"(",
			"chunkDigest": ")" +
                               hex("11") + R"("
		},
		{
			"name": "large",
			"type": "reg",
			"size": 8388609,
			"mode": 493,
			"offset": 203,
			"digest": ")" +
                               hex("22") + R"(",
			"chunkSize": 4194304,
			"chunkDigest": ")" +
                               hex("03") + R"("
		},
		{
			"name": "large",
			"type": "chunk",
			"offset": 204,
			"chunkOffset": 4194304,
			"chunkSize": 4194304,
			"chunkDigest": ")" +
                               hex("04") + R"("
		},
		{
			"name": "large",
			"type": "chunk",
			"offset": 205,
			"chunkOffset": 8388608,
			"chunkDigest": ")" +
                               hex("05") + R"("
		},
		{
			"name": "link",
			"type": "symlink",
			"linkName": "dir/small",
			"mode": 493
		},
		{
			"name": "hard",
			"type": "hardlink",
			"linkName": "large",
			"mode": 493
		},
		{
			"name": "null",
			"type": "char",
			"mode": 493,
			"devMajor": 1,
			"devMinor": 3
		},
		{
			"name": "exact",
			"type": "reg",
			"size": 4194304,
			"mode": 2048,
			"offset": 300,
			"digest": ")" +
                               hex("06") + R"(",
			"chunkSize": 4194304,
			"chunkDigest": ")" +
                               hex("06") + R"("
		},
		{
			"name": "fifo",
			"type": "fifo",
			"mode": 493
		}
	]
})");
}

TEST_CASE("a name is told again when it changes for its id") {
    estargz_toc toc;
    for (auto const* user : {"a", "a", "b", "", "b", "a"}) {
        auto entry = of_type(entry_type::directory, "d/");
        entry.user_name = user;
        toc.add_entry(entry);
    }
    auto const text = rendered(toc);
    std::string seen;
    for (std::size_t at = 0; (at = text.find("\"userName\": \"", at)) != std::string::npos; ++at)
        seen += text[at + 13];
    CHECK(seen == "aba");
}

TEST_CASE("what is not UTF-8 cannot be listed") {
    estargz_toc toc;
    auto name = of_type(entry_type::directory, "bad\xff/");
    CHECK_THROWS_WITH(toc.add_entry(name), Catch::Contains("'bad\\xff/': the name is not UTF-8"));
    auto link = of_type(entry_type::symbolic_link, "link");
    link.link_name = "\xfe";
    CHECK_THROWS_WITH(toc.add_entry(link), Catch::Contains("'link': the link target is not UTF-8"));
    auto attribute = of_type(entry_type::directory, "dir/");
    attribute.xattrs = {{"user.\xff", "\xff"}};
    CHECK_THROWS_WITH(toc.add_entry(attribute), Catch::Contains("extended attribute is not UTF-8"));
    attribute.xattrs = {{"user.k", "\xff"}};
    CHECK_NOTHROW(toc.add_entry(attribute));
}
