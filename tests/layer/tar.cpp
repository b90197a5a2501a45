#include <shiplap/codec/gzip.hpp>
#include <shiplap/codec/zstd.hpp>
#include <shiplap/layer/tar.hpp>
#include <shiplap/tar/writer.hpp>

#include "support/catch.hpp"
#include "support/trees.hpp"

#include <thread>

using namespace shiplap;

namespace {

static_assert(sized_layer<tar_layer> && !stored_layer<tar_layer>);
static_assert(std::copyable<tar_layer>);

template <codec C>
std::string packed(C const& how, std::string_view plain) {
    string_sink out;
    auto encoder = how.encoder(executor_ref{});
    encoder.write(as_bytes(plain), out);
    encoder.finish(out);
    return out.text;
}

struct content_entry {
    tar_entry header;
    std::string content{};
};

std::string make_tar(std::vector<content_entry> const& entries) {
    string_sink out;
    tar_writer writer{out};
    for (auto [header, content] : entries) {
        header.size = content.size();
        writer.entry(header);
        writer.write(as_bytes(content));
    }
    writer.finish();
    return out.text;
}

tar_entry entry_called(std::string name, entry_type type = entry_type::regular, std::string link_name = {}) {
    tar_entry entry;
    entry.name = std::move(name);
    entry.type = type;
    entry.mode = 0644;
    entry.mtime = {1'600'000'000, 0};
    entry.link_name = std::move(link_name);
    return entry;
}

std::string const some_tar = make_tar({{entry_called("d/", entry_type::directory)},
                                       {entry_called("d/f"), std::string(300'000, 'x')},
                                       {entry_called("d/.wh.gone")},
                                       {entry_called("./l", entry_type::symbolic_link, "../anywhere")},
                                       {entry_called("h", entry_type::hard_link, "d/f")}}) +
                             std::string(8192, '\0'); // as GNU tar pads

} // namespace

TEST_CASE("a tar passes byte for byte, whatever it is packed with", "[layer][tar]") {
    temp_dir temp;
    auto const path = temp / "some.tar";
    SECTION("plain") {
        trees::write(path, some_tar);
        CHECK(tar_layer{path}.estimated_size() == some_tar.size());
    }
    SECTION("gzip") {
        trees::write(path, packed(gzip{}, some_tar));
    }
    SECTION("zstd") {
        trees::write(path, packed(zstd{}, some_tar));
    }
    tar_layer const layer{path};
    CHECK((trees::tar_of(layer) == some_tar));
    CHECK((trees::tar_of(layer) == some_tar)); // repeatable
    CHECK(layer.description() == "tar:" + path);
}

TEST_CASE("the size of a packed tar is not known beforehand", "[layer][tar]") {
    temp_dir temp;
    trees::write(temp / "t", packed(gzip{}, some_tar));
    CHECK(tar_layer{temp / "t"}.estimated_size() == 0);
}

TEST_CASE("a stream can be packed once", "[layer][tar]") {
    auto const bytes = GENERATE(false, true) ? packed(gzip{}, some_tar) : some_tar;
    tar_layer const layer{span_source{bytes}, "standard input"};
    auto const copy = layer;
    CHECK(layer.estimated_size() == 0);
    CHECK((trees::tar_of(layer) == some_tar));
    auto const problem = trees::error_of([&] { trees::tar_of(copy); });
    CHECK(problem.code() == error_code::unsupported);
    CHECK(problem.subject() == "standard input");
}

TEST_CASE("a named pipe is read as a file is", "[layer][tar]") {
    temp_dir temp;
    auto const path = temp / "pipe";
    REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
    CHECK(tar_layer{path}.estimated_size() == 0); // without waiting for the writer
    std::thread writer{[&] { std::ofstream{path, std::ios::binary} << some_tar; }};
    auto const read = trees::tar_of(tar_layer{path});
    writer.join();
    CHECK((read == some_tar));
}

TEST_CASE("times are mapped, and the padding at the end dropped", "[layer][tar]") {
    clamp_timestamps const clamp{{1'500'000'000, 0}};
    auto const whole =
        make_tar({{entry_called("f"), "content"}, {entry_called("old")}}) + std::string(9216, '\0');
    tar_layer const layer{span_source{whole}, "t.tar"};
    auto const rewritten = trees::tar_of(layer, {clamp, {}});
    CHECK(rewritten.size() == 3 * 512 + 1024); // two headers, one block of content, no padding
    auto const entries = trees::read_tar(rewritten);
    REQUIRE(entries.size() == 2);
    CHECK(entries[0].header.mtime == clamp.epoch);
    CHECK(entries[0].content == "content");

    // A second pass changes nothing any more.
    CHECK(trees::tar_of(tar_layer{span_source{rewritten}, "t.tar"}, {clamp, {}}) == rewritten);
}

TEST_CASE("a policy that keeps times sees them all the same", "[layer][tar]") {
    struct watching {
        int* seen;
        timestamp operator()(timestamp time) const { return ++*seen, time; }
        static bool keeps() { return true; }
    };
    int seen = 0;
    watching const policy{&seen};
    CHECK((trees::tar_of(tar_layer{span_source{some_tar}, "t"}, {policy, {}}) == some_tar));
    CHECK(seen == 5);
}

TEST_CASE("what is no whole archive is refused, with its name", "[layer][tar]") {
    struct broken {
        char const* name;
        std::string bytes;
    };
    auto corrupt = some_tar;
    corrupt[513] ^= 1;
    auto const small = make_tar({{entry_called("f"), "content"}});
    auto const zipped = packed(gzip{}, some_tar), zst = packed(zstd{}, some_tar);
    auto const c = GENERATE_COPY(values<broken>({
        {"empty", ""},
        {"text", "no tar at all\n"},
        {"long text", std::string(4096, 'x')},
        {"cut in a header", some_tar.substr(0, 700)},
        {"cut in content", some_tar.substr(0, 5000)},
        {"without end marker", small.substr(0, small.size() - 1024)},
        {"with half an end marker", small.substr(0, small.size() - 512)},
        {"corrupt header", corrupt},
        {"cut gzip", zipped.substr(0, zipped.size() - 9)},
        {"cut zstd", zst.substr(0, zst.size() - 9)},
        {"gzip of text", packed(gzip{}, "no tar at all")},
    }));
    INFO(c.name);
    temp_dir temp;
    trees::write(temp / "broken.tar", c.bytes);
    clamp_timestamps const clamp{{0, 0}};
    for (auto const& context : {layer_context{}, layer_context{clamp, {}}}) {
        auto const problem = trees::error_of([&] { trees::tar_of(tar_layer{temp / "broken.tar"}, context); });
        INFO(problem.what());
        CHECK(problem.code() == error_code::format);
        CHECK(std::string{problem.what()}.find(temp / "broken.tar") != std::string::npos);
    }
}

TEST_CASE("entries that could leave the root are refused, by name and place", "[layer][tar]") {
    auto const hostile = GENERATE_COPY(values<tar_entry>({
        entry_called("../f"),
        entry_called("a/../../f"),
        entry_called("a/.."),
        entry_called("/etc/passwd"),
        entry_called("f", entry_type::hard_link, "../f"),
        entry_called("f", entry_type::hard_link, "/etc/shadow"),
    }));
    auto const bytes = make_tar({{entry_called("fine")}, {hostile}});
    auto const problem = trees::error_of([&] { trees::tar_of(tar_layer{span_source{bytes}, "t.tar"}); });
    CHECK(problem.code() == error_code::unsafe_entry);
    CHECK(problem.subject() == "t.tar");
    CHECK(problem.reason().find("'" + hostile.name + "' at offset 512") != std::string::npos);
}

TEST_CASE("names that only look odd are fine", "[layer][tar]") {
    for (auto const* name :
         {"..a", "a../b", "./a", "a/./b", "...", "a//b", ".wh.x", "d/.wh..wh..opq", ".wh..wh.plnk"}) {
        auto const bytes = make_tar({{entry_called(name)}});
        CHECK(trees::tar_of(tar_layer{span_source{bytes}, "t.tar"}) == bytes);
    }
}

TEST_CASE("malformed whiteouts are refused", "[layer][tar]") {
    auto const name = GENERATE(as<std::string>{}, ".wh.", "d/.wh..", ".wh...");
    auto const bytes = make_tar({{entry_called(name)}});
    auto const problem = trees::error_of([&] { trees::tar_of(tar_layer{span_source{bytes}, "t.tar"}); });
    CHECK(problem.code() == error_code::format);
    CHECK(problem.subject() == name);
    CHECK(std::string{problem.what()}.find("t.tar") != std::string::npos);
}

TEST_CASE("a tar that changes while it is read is an error", "[layer][tar]") {
    struct toucher {
        std::string path;
        void write(bytes_view) const { trees::set_time(path, {1, 0}); }
    };
    temp_dir temp;
    trees::write(temp / "t.tar", some_tar);
    toucher out{temp / "t.tar"};
    auto const problem = trees::error_of([&] { tar_layer{out.path}.write_tar(out, layer_context{}); });
    CHECK(problem.code() == error_code::source_changed);
    CHECK(problem.subject() == out.path);
}

TEST_CASE("what cannot be opened is an error that names it", "[layer][tar]") {
    temp_dir temp;
    for (auto const& path : {temp / "none", temp.path().string()}) {
        auto const problem = trees::error_of([&] { trees::tar_of(tar_layer{path}); });
        CHECK(problem.code() == error_code::io);
        CHECK(problem.subject() == path);
    }
    CHECK(trees::error_of([] { trees::tar_of(tar_layer{""}); }).code() == error_code::option);
}

TEST_CASE("a packing that is not known is refused, with the name of the file", "[layer][tar]") {
    temp_dir temp;
    std::string_view const magic{"\xfd"
                                 "7zXZ\0",
                                 6};
    trees::write(temp / "t.tar.xz", std::string{magic} + "and so on, for long enough");
    auto const problem = trees::error_of([&] { trees::tar_of(tar_layer{temp / "t.tar.xz"}); });
    CHECK(problem.code() == error_code::unsupported);
    CHECK(std::string{problem.what()}.find(temp / "t.tar.xz") != std::string::npos);
}
