#include <shiplap/sink/copy.hpp>
#include <shiplap/sink/filesystem.hpp>

#include "support/catch.hpp"
#include "support/sample_image.hpp"
#include "support/temp.hpp"

#include <filesystem>
#include <fstream>
#include <iterator>

#include <sys/stat.h>

using namespace shiplap;
namespace fs = std::filesystem;

namespace {

static_assert(arranging_sink<filesystem_sink>);

struct quiet_env {
    no_progress progress;
};

void extract(sample_image const& image, filesystem_sink& to) {
    quiet_env env;
    copy(image.root, {}, image.blobs, to, env);
}

/// What extracting throws, as text, or "".
std::string try_extract(sample_image const& image, std::string const& to, filesystem_options options = {}) {
    try {
        filesystem_sink sink{to, std::move(options)};
        extract(image, sink);
        return {};
    } catch (error const& problem) {
        return problem.what();
    }
}

struct packed_layer {
    std::string tar;
    std::string encoding = "";
};

/// An image of these layers whose configuration has these diff_ids, the right ones by default.
template <digest_algorithm D = sha256>
sample_image image_of(std::vector<packed_layer> const& layers,
                      std::optional<std::vector<std::string>> diff_ids = {},
                      media_type_table const& types = table_of<oci_media_types>) {
    descriptor const nothing{.media_type = "", .digest = digest::of<D>({})};
    sample_image out{{}, nothing, {.media_type = "", .config = nothing}, {}};
    std::string ids;
    for (std::size_t i = 0; i < layers.size(); ++i) {
        auto const id = digest::of<D>(as_bytes(layers[i].tar)).text();
        if (!diff_ids) ids += (i == 0 ? "\"" : ",\"") + id + "\"";
        out.manifest.layers.push_back(put_text<D>(out.blobs, types.layer(layers[i].encoding),
                                                  encoded(layers[i].encoding, layers[i].tar)));
    }
    if (diff_ids)
        for (auto const& id : *diff_ids) ids += (ids.empty() ? "\"" : ",\"") + id + "\"";
    out.config =
        R"({"architecture":"amd64","config":{},"os":"linux","rootfs":{"type":"layers","diff_ids":[)" + ids +
        "]}}";
    out.manifest.media_type = types.manifest;
    out.manifest.config = put_text<D>(out.blobs, types.config, out.config);
    out.root = put_text<D>(out.blobs, types.manifest, to_text(out.manifest));
    return out;
}

/// The manifest is changed after the fact.
void rewrite(sample_image& image) {
    image.root = put_text(image.blobs, image.manifest.media_type, to_text(image.manifest));
}

std::string text_of(std::string const& path) {
    std::ifstream in{path, std::ios::binary};
    return {std::istreambuf_iterator<char>{in}, {}};
}

std::size_t names_in(fs::path const& path) {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator{path}, fs::directory_iterator{}));
}

} // namespace

TEMPLATE_TEST_CASE("an image becomes a directory", "[filesystem]", sha256, sha512) {
    temp_dir const tmp;
    auto const encoding = GENERATE(values<std::string>({"", "gzip", "zstd"}));
    auto const* types = GENERATE(&table_of<oci_media_types>, &table_of<docker_media_types>);
    CAPTURE(encoding, types->manifest);
    auto const image = make_image<TestType>(*types, encoding, 3, "text of ");
    filesystem_sink sink{tmp / "rootfs"};
    CHECK(sink.staging_folder() == tmp.path());
    CHECK_FALSE(fs::exists(tmp / "rootfs"));
    extract(image, sink);
    CHECK(names_in(tmp.path()) == 1);
    CHECK(names_in(tmp / "rootfs") == 3);
    CHECK(text_of(tmp / "rootfs/layer2") == "text of 2");
    struct ::stat facts {};
    REQUIRE(::stat((tmp / "rootfs").c_str(), &facts) == 0);
    CHECK((facts.st_mode & 07777) == 0755);
    CHECK(facts.st_mtime == 0);
}

TEST_CASE("layers are applied bottom to top, one may occur twice", "[filesystem]") {
    temp_dir const tmp;
    packed_layer const a{make_tar({tar_file("x", "a"), tar_file("y", "a")})};
    packed_layer const b{make_tar({tar_file("x", "b"), tar_file(".wh.y", "")}), "gzip"};
    CHECK(try_extract(image_of({a, b, a}), tmp / "aba") == "");
    CHECK(text_of(tmp / "aba/x") == "a");
    CHECK(fs::exists(tmp / "aba/y"));
    CHECK(try_extract(image_of({a, b}), tmp / "ab") == "");
    CHECK(text_of(tmp / "ab/x") == "b");
    CHECK_FALSE(fs::exists(tmp / "ab/y"));
    CHECK(try_extract(image_of({}), tmp / "none") == "");
    CHECK(fs::is_empty(tmp / "none"));
}

TEST_CASE("what is wrong with an image is told, and nothing appears", "[filesystem]") {
    temp_dir const tmp;
    auto const tar = make_tar({tar_file("x", "text")});
    auto const other = digest::of<sha256>(as_bytes("other")).text();
    auto const check = [&](sample_image const& image, std::string const& reason) {
        CAPTURE(reason);
        auto const said = try_extract(image, tmp / "rootfs");
        CHECK_THAT(said, Catch::Matchers::Contains(reason));
        CHECK(fs::is_empty(tmp.path()));
    };
    check(image_of({{tar}}, {{other}}), "its configuration says " + other);
    check(image_of({{tar, "gzip"}, {tar}}, {{digest::of<sha256>(as_bytes(tar)).text(), other}}),
          "layer 2 (sha256:");
    check(image_of({{tar}}, std::vector<std::string>{}), "0 diff_ids for 1 layers");
    check(image_of({{tar}, {tar}}, {{other}}), "1 diff_ids for 2 layers");

    auto image = image_of({{tar}});
    image.manifest.layers[0].media_type = "application/vnd.example.layer";
    rewrite(image);
    check(image, "application/vnd.example.layer");
    image.manifest.layers[0].media_type = oci_media_types::layer("gzip");
    rewrite(image);
    check(image, "layer 1 (sha256:");
    image = image_of({{tar}});
    image.manifest.config.media_type = "application/vnd.example.config";
    rewrite(image);
    check(image, "no image that can be run");

    check(image_of({{make_tar({tar_file("fine", "text"), tar_file("../evil", "text")}), "gzip"}}),
          "'../evil'");
    check(image_of({{tar.substr(0, 600)}}), "truncated");

    image = image_of({{tar, "zstd"}});
    auto corrupt = encoded("zstd", tar);
    corrupt.resize(corrupt.size() - 1);
    image.manifest.layers[0] = put_text(image.blobs, oci_media_types::layer("zstd"), corrupt);
    rewrite(image);
    check(image, "layer 1 (sha256:");
}

TEST_CASE("bytes that are not those of the descriptor publish nothing", "[filesystem]") {
    temp_dir const tmp;
    auto image = make_image();
    auto const stolen = image.manifest.layers[1].digest;
    auto const other = make_tar({tar_file("x", "other")});
    memory_store swapped;
    for (auto const& [id, text] : image.blobs.blobs()) {
        auto blob = swapped.open();
        blob.write(as_bytes(id == stolen ? other : text));
        blob.commit({id, text.size()});
    }
    image.blobs = std::move(swapped);
    CHECK_THAT(try_extract(image, tmp / "rootfs"), Catch::Matchers::Contains(stolen.text()));
    CHECK(fs::is_empty(tmp.path()));
}

TEST_CASE("bombs are refused by name, sparse files are not", "[filesystem][hostile]") {
    temp_dir const tmp;
    auto const encoding = GENERATE(values<std::string>({"gzip", "zstd"}));
    CAPTURE(encoding);
    filesystem_options options;
    options.extraction.limits.expansion = 100;
    options.extraction.limits.free_expansion = 1024 * 1024;
    auto const of_zeros = [&](std::size_t size) {
        return image_of(
            {{make_tar({tar_file("before", "text"), tar_file("bomb", std::string(size, '\0'))}), encoding}});
    };
    auto const said = try_extract(of_zeros(64 * 1024 * 1024), tmp / "rootfs", options);
    CHECK_THAT(said, Catch::Matchers::Contains("expands to more than 100 times its size"));
    CHECK_THAT(said, Catch::Matchers::Contains("'bomb'"));
    CHECK(fs::is_empty(tmp.path()));
    CHECK(try_extract(of_zeros(1'000'000), tmp / "small", options) == "");

    options.extraction.limits.expansion = 1'000'000;
    options.extraction.limits.bytes = 100'000;
    CHECK_THAT(try_extract(of_zeros(200'000), tmp / "rootfs", options),
               Catch::Matchers::Contains("more than 100000 plain bytes"));
    CHECK(try_extract(of_zeros(50'000), tmp / "smaller", options) == "");
}

TEST_CASE("the image of a platform is chosen from an index", "[filesystem]") {
    temp_dir const tmp;
    auto const host = host_platform();
    platform const other{.os = "linux", .architecture = host.architecture == "s390x" ? "amd64" : "s390x"};
    sample_image all = image_of({{make_tar({tar_file("other", "")})}});
    image_index index{.media_type = std::string{oci_media_types::index}};
    auto const add = [&](sample_image const& image, std::optional<platform> const& on) {
        for (auto const& [id, text] : image.blobs.blobs()) {
            auto blob = all.blobs.open();
            blob.write(as_bytes(text));
            blob.commit({id, text.size()});
        }
        index.manifests.push_back(image.root);
        index.manifests.back().platform = on;
        all.root = put_text(all.blobs, index.media_type, to_text(index));
    };
    add(all, other);
    filesystem_options wanted;
    CHECK(try_extract(all, tmp / "only", wanted) == "");
    CHECK(fs::exists(tmp / "only/other"));

    auto attestation = image_of({{make_tar({tar_file("attestation", "")})}});
    attestation.root.annotations["vnd.docker.reference.type"] = "attestation-manifest";
    add(attestation, platform{.os = "unknown", .architecture = "unknown"});
    CHECK(try_extract(all, tmp / "still_only", wanted) == "");
    CHECK(fs::exists(tmp / "still_only/other"));

    add(image_of({{make_tar({tar_file("host", "")})}}), host);
    CHECK(try_extract(all, tmp / "default", wanted) == "");
    CHECK(fs::exists(tmp / "default/host"));
    wanted.platform = other;
    CHECK(try_extract(all, tmp / "chosen", wanted) == "");
    CHECK(fs::exists(tmp / "chosen/other"));
    wanted.platform = platform{.os = "plan9", .architecture = "mips"};
    CHECK_THAT(try_extract(all, tmp / "rootfs", wanted), Catch::Matchers::Contains("plan9/mips"));
    CHECK_FALSE(fs::exists(tmp / "rootfs"));
}

TEST_CASE("a destination that is not empty is refused before any work, others are kept", "[filesystem]") {
    temp_dir const tmp;
    auto const image = make_image();
    CHECK(try_extract(image, tmp / "rootfs") == "");
    CHECK_THAT(try_extract(image, tmp / "rootfs"), Catch::Matchers::Contains("is not empty"));
    CHECK_THROWS_AS(filesystem_sink{tmp / "rootfs"}, option_error);
    fs::create_directory(tmp / "empty");
    CHECK(try_extract(image, tmp / "empty") == "");
    CHECK(names_in(tmp / "empty") == 2);
    CHECK(try_extract(image, tmp / "some/where/rootfs") == "");
    CHECK(names_in(tmp.path()) == 3);
}

TEST_CASE("the sink insists on the order that it asked for", "[filesystem]") {
    temp_dir const tmp;
    auto const image = make_image();
    auto const graph = read_graph(image.root, image.blobs);
    filesystem_sink sink{tmp / "rootfs"};
    auto const put = [&](descriptor const& what) {
        auto source = image.blobs.reader(what.digest);
        sink.put(what, source);
    };
    CHECK_THROWS_AS(sink.commit(), error);
    CHECK_THROWS_AS(put(image.manifest.config), error);
    auto const plan = sink.arrange(graph);
    REQUIRE(plan.size() == 3);
    CHECK(plan[0] == image.manifest.config);
    CHECK_THROWS_AS(put(plan[1]), error);
    put(plan[0]);
    put(plan[1]);
    CHECK_THROWS_AS(sink.commit(), error);
    for (auto const& what : sink.arrange(graph)) put(what); // from the start again
    auto moved = std::move(sink);
    moved.commit();
    CHECK(names_in(tmp / "rootfs") == 2);
    CHECK(names_in(tmp.path()) == 1);
}

TEST_CASE("warnings reach the observer", "[filesystem]") {
    temp_dir const tmp;
    tar_member device = tar_file("null", "");
    device.entry.type = entry_type::character_device;
    std::vector<std::string> warnings;
    auto hear = [&](progress_event const& event) { warnings.emplace_back(event.text); };
    filesystem_options options;
    options.extraction.progress = progress_ref{hear};
    CHECK(try_extract(image_of({{make_tar({device})}}), tmp / "rootfs", options) == "");
    REQUIRE(warnings.size() == 1);
    CHECK_THAT(warnings[0], Catch::Matchers::Contains("'null'"));
}
