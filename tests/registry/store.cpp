#include <shiplap/registry/store.hpp>
#include <shiplap/sink/layout.hpp>
#include <shiplap/sink/memory.hpp>
#include <shiplap/sink/oci_archive.hpp>
#include <shiplap/store/layout.hpp>

#include "registry/rig.hpp"
#include "support/catch.hpp"
#include "support/temp.hpp"

#include <optional>

using namespace rig;
using registry_test::always;
using registry_test::quirks;

namespace {

/// Puts an image into a registry as if it had always been there.
void hold(test_registry& registry, memory_store const& store, descriptor const& root,
          std::string const& repository = "app", std::string const& tag = "1") {
    for (auto const& node : read_graph(root, store).contents) {
        auto const& text = store.blobs().at(node.what.digest);
        if (is_document(node.what))
            registry.put_manifest(repository, text, node.what.media_type);
        else
            registry.put_blob(repository, text);
    }
    registry.set_tag(repository, tag, root.digest.text());
}

/// An image with children whose text nobody would write like that.
descriptor put_odd_index(memory_store& store, std::vector<std::size_t> const& sizes) {
    auto const one = put_layers(store, sizes, 1);
    auto const& text = store.blobs().at(one.digest);
    auto const odd = samples::put(store, "  " + text + "\n\n\t", one.media_type);
    auto const two = put_layers(store, {300}, 2);
    auto const index = samples::put_index(
        store, {samples::on(odd, "linux", "amd64"), samples::on(two, "linux", "arm64", "v8")});
    return samples::put(store, store.blobs().at(index.digest) + " ", index.media_type);
}

/// Pulls "app:1" and returns the root.
template <transport T>
descriptor pull(T over, test_registry const& registry, memory_sink& into, std::string const& name = "1") {
    registry_store from{std::move(over), at(registry, "app")};
    auto const root = from.resolve(name);
    quiet_env env;
    copy(root, {}, from, into, env);
    return root;
}

/// Whatever is in the image is in the store, byte by byte.
bool same_image(descriptor const& root, memory_store const& expected, memory_store const& got) {
    for (auto const& node : read_graph(root, expected).contents)
        if (!got.contains(node.what.digest) ||
            got.blobs().at(node.what.digest) != expected.blobs().at(node.what.digest))
            return false;
    return true;
}

retry_policy constexpr hasty{.budget = 300ms, .first_pause = 1ms, .longest_pause = 10ms};

} // namespace

TEST_CASE("a pull brings what the registry has, byte by byte", "[registry][store]") {
    memory_store store;
    auto const root = put_odd_index(store, {40'000, 1, 2'000'000});
    struct row {
        std::string name;
        quirks how;
        std::optional<error_code> fails{};
        std::string says{};
    };
    std::string const index_type{oci_media_types::index}, manifest_type{oci_media_types::manifest};
    std::vector<row> const rows{
        {"to the letter", {}},
        {"no HEAD for manifests", {.head_manifest_status = 405}},
        {"no HEAD for blobs", {.head_blob_status = 405}},
        {"no HEAD for blobs, 400", {.head_blob_status = 400}},
        {"no lengths", {.head_without_length = true}},
        {"no digests", {.digest_headers = digest_header::absent}},
        {"digests of another algorithm", {.digest_headers = digest_header::other_algorithm}},
        {"blobs elsewhere", {.redirect_blobs = true}},
        {"no ranges", {.ignores_range = true}},
        {"wrong bytes", {.corrupted_blobs = true}, error_code::digest_mismatch},
        {"half of the bytes, over and over", {.truncated_blobs = true}, error_code::network},
        {"half of the bytes, from the start",
         {.ignores_range = true, .truncated_blobs = true},
         error_code::network},
        {"a type that says nothing", {.manifest_content_type = "text/plain"}},
        {"a type with a parameter",
         {.manifest_content_type = index_type + "; charset=utf-8"},
         error_code::format},
        {"a type that contradicts",
         {.manifest_content_type = manifest_type},
         error_code::format,
         "says of itself"},
        {"cookies", {.session_cookies = true}},
    };
    std::vector<std::function<std::string()>> cases;
    for (auto const& one : rows)
        cases.emplace_back([&] {
            test_registry registry{one.how};
            hold(registry, store, root);
            std::optional<error_code> failed;
            std::string text;
            memory_sink into;
            try {
                auto const got = pull(open_way(hasty, network({registry.other_authority()})), registry, into);
                if (got.digest != root.digest) text += "another image\n";
                if (!same_image(root, store, into.store())) text += "other bytes\n";
            } catch (error const& failure) {
                failed = failure.code();
                text = failure.what();
                if (text.find(one.says) != std::string::npos && failed == one.fails) text.clear();
                if (!into.images().empty()) text += "became visible\n";
            }
            if (failed != one.fails) text += "ended otherwise\n";
            text += misdeeds(registry);
            return text.empty() ? "" : one.name + ": " + text;
        });
    CHECK(all_wrong(cases) == "");
}

TEST_CASE("a download that is cut goes on where it was", "[registry][store]") {
    memory_store store;
    std::uint64_t constexpr size = 3'000'000;
    auto const root = put_layers(store, {size});
    bool const ranges = GENERATE(true, false);
    auto const chunked = GENERATE(false, true);
    auto const missing = GENERATE(std::size_t{0}, 1, 1'000'000, 3'000'000);
    INFO((ranges ? "ranges" : "no ranges") << (chunked ? ", chunked, missing " : ", missing ") << missing);
    test_registry registry{{.ignores_range = !ranges}};
    hold(registry, store, root);
    registry.fail({.on = request_kind::get_blob, .with = registry_test::cut_reply{missing, chunked}});
    memory_sink into;
    pull(open_way(), registry, into);
    CHECK(same_image(root, store, into.store()));
    std::vector<request_record> gets;
    for (auto const& request : registry.requests())
        if (request.kind == request_kind::get_blob) gets.push_back(request);
    if (missing != 0) { // else nobody may notice
        REQUIRE(gets.size() == 3);
        CHECK(gets[1].header("Range") ==
              (missing == size ? "" : "bytes=" + std::to_string(size - missing) + "-"));
        CHECK(gets[1].status == (ranges && missing != size ? 206 : 200));
    }
    CHECK(misdeeds(registry) == "");
}

TEST_CASE("what a pull may meet once", "[registry][store]") {
    memory_store store;
    auto const root = put_odd_index(store, {40'000, 2'000'000});
    memory_sink plain_pull;
    std::size_t requests = 0;
    {
        test_registry registry;
        hold(registry, store, root);
        pull(open_way(), registry, plain_pull);
        requests = registry.count();
    }
    std::vector<registry_test::fault_action> const kinds{
        answer{429},      answer{500},          answer{503, {}, "<html>", true},
        lost_reply{},     cut_reply{50, false}, cut_reply{300, true},
        drop_connection{}};
    std::vector<std::function<std::string()>> cases;
    for (std::size_t n = 1; n <= requests; ++n)
        for (auto const& kind : kinds)
            cases.emplace_back([&, n] {
                test_registry registry;
                hold(registry, store, root);
                registry.fail_request(n, kind);
                memory_sink into;
                pull(open_way(), registry, into);
                return (same_image(root, store, into.store()) ? "" : "other bytes\n") + misdeeds(registry);
            });
    CHECK(all_wrong(cases) == "");
}

TEST_CASE("an image is found by tag and by digest, or not", "[registry][store]") {
    test_registry registry;
    memory_store store;
    auto const root = put_layers(store, {100});
    hold(registry, store, root);
    registry_store const from{open_way(hasty), at(registry, "app:whatever")};
    for (auto const& name : {std::string{"1"}, root.digest.text()}) {
        auto const found = from.resolve(name);
        CHECK(found.digest == root.digest);
        CHECK(found.size == root.size);
        CHECK(found.media_type == root.media_type);
    }
    CHECK_THROWS_WITH(from.resolve("2"),
                      contains(registry.authority() + "/app:2") && contains("no such image"));
    auto const layer = read_graph(root, store).contents.front().what.digest;
    CHECK(from.contains(root.digest));
    CHECK(from.contains(layer));
    CHECK_FALSE(from.contains(samples::facts_of("nothing").digest));
    CHECK_THROWS_AS(samples::read_all(from.reader(samples::facts_of("nothing").digest)), registry_error);
    auto reader = from.reader(layer);
    std::string const text = store.blobs().at(layer);
    for (int i = 0; i < 2; ++i) {
        std::string got(text.size(), ' ');
        CHECK(read_fully(reader, {reinterpret_cast<std::byte*>(got.data()), got.size()}) == text.size());
        CHECK(got == text);
        reader.rewind();
    }
    CHECK(misdeeds(registry) == "");
}

TEST_CASE("a pull needs credentials where the registry wants them", "[registry][store]") {
    test_registry registry{{.auth = {.mode = GENERATE(auth_mode::basic, auth_mode::bearer)}}};
    memory_store store;
    auto const root = put_layers(store, {100'000, 50});
    hold(registry, store, root);
    memory_sink into;
    pull(login_way(registry), registry, into);
    CHECK(same_image(root, store, into.store()));
    CHECK(misdeeds(registry) == "");
}

TEST_CASE("from repository to repository, blobs are mounted", "[registry][store]") {
    test_registry registry;
    memory_store store;
    auto const root = put_odd_index(store, {40'000, 500'000});
    hold(registry, store, root, "team/app");
    auto const known = std::make_shared<known_repositories>();
    auto const over = open_way();
    registry_store const from{over, at(registry, "team/app"), false, known};
    registry_sink to{over, {at(registry, "team/copy:1"), at(registry, "other:2")}, {.known = known}};
    quiet_env env;
    copy(from.resolve("1"), {}, from, to, env);
    for (auto const* const name : {"team/copy", "other"}) CHECK(lacking(registry, name, root, store) == "");
    CHECK(registry.tag("team/copy", "1") == root.digest.text());
    CHECK(registry.tag("other", "2") == root.digest.text());
    CHECK(registry.bytes_uploaded() == 0);
    CHECK(registry.count(request_kind::get_blob) == 0);
    CHECK(misdeeds(registry) == "");
}

TEST_CASE("from registry to registry, and the download is cut", "[registry][store]") {
    test_registry one, two;
    memory_store store;
    auto const root = put_odd_index(store, {40'000, 3'000'000});
    hold(one, store, root);
    one.fail({.on = request_kind::get_blob, .nth = 2, .times = 3, .with = cut_reply{500'000}});
    two.fail({.on = request_kind::put_upload, .nth = 2, .times = 2, .with = drop_connection{200'000}});
    auto const over = open_way();
    registry_store const from{over, at(one, "app")};
    registry_sink to{over, {at(two, "app:1")}};
    quiet_env env;
    copy(from.resolve("1"), {}, from, to, env);
    CHECK(lacking(two, "app", root, store) == "");
    CHECK(misdeeds(one) + misdeeds(two) == "");
}

TEST_CASE("an image goes round and stays the same", "[registry][store]") {
    test_registry registry;
    memory_store store;
    temp_dir folder;
    auto const root = put_odd_index(store, {40'000, 70'000});
    quiet_env env;
    auto const name = std::vector{image_name{"app:1", "1"}};
    auto const through = [&](auto const& from, descriptor const& what, std::string const& repository) {
        registry_sink to{open_way(), {at(registry, repository + ":1")}};
        copy(what, {}, from, to, env);
        return registry_store{open_way(), at(registry, repository)};
    };
    auto const first = through(store, root, "first");
    layout_sink layout{folder / "layout"};
    copy(first.resolve("1"), name, first, layout, env);
    layout_store const laid{folder / "layout"};
    auto const second = through(laid, laid.resolve("1"), "second");
    oci_archive_sink archive{folder / "image.tar"};
    copy(second.resolve("1"), name, second, archive, env);
    memory_sink memory;
    copy(second.resolve("1"), name, second, memory, env);
    auto const third = through(memory.store(), memory.images().at(0).root, "third");
    CHECK(third.resolve("1").digest == root.digest);
    for (auto const* const repository : {"first", "second", "third"})
        CHECK(lacking(registry, repository, root, store) == "");
    CHECK(std::filesystem::file_size(folder / "image.tar") > 110'000);
    CHECK(misdeeds(registry) == "");
}
