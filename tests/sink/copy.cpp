#include <shiplap/sink/copy.hpp>
#include <shiplap/sink/layout.hpp>
#include <shiplap/sink/memory.hpp>

#include "store/samples.hpp"
#include "support/catch.hpp"
#include "support/temp.hpp"

#include <algorithm>
#include <optional>
#include <set>

using namespace samples;
using Catch::Matchers::Contains;

namespace {

// Notes what it is asked, in order.
struct noting_sink {
    std::vector<std::string> calls{};
    std::set<digest> there{};
    bool exists(descriptor const& what) const { return there.contains(what.digest); }
    void put(descriptor const& what, replayable_source_ref from) {
        string_sink out;
        transfer(from, out);
        from.rewind(); // as after a failed request
        string_sink again;
        transfer(from, again);
        calls.push_back(out.text == again.text && out.text.size() == what.size ? "put " + what.digest.text()
                                                                               : "not replayable");
    }
    void tag(descriptor const& root, image_name const& name) {
        calls.push_back("tag " + root.digest.text() + " " + name.ref_name);
    }
    void commit() { calls.emplace_back("commit"); }
};

struct arranging : noting_sink {
    std::vector<descriptor> arrange(image_graph const& graph) {
        if (graph.manifests.size() != 1)
            throw error{error_code::unsupported, "arrange", graph.root.digest.text(), "one image only"};
        return {graph.root, graph.contents.front().what, graph.root};
    }
};

// Takes exactly as many bytes as it was promised, and does not read on.
struct counting_bytes : noting_sink {
    void put(descriptor const& what, replayable_source_ref from) {
        std::vector<std::byte> space(what.size);
        calls.push_back("got " + std::to_string(read_fully(from, space)));
    }
};

struct event {
    progress_event::kind what;
    std::uint64_t id;
    std::string activity, subject;
    std::uint64_t done;
    std::optional<std::uint64_t> total;
};

struct noting_env {
    std::vector<event> events{};
    struct observer {
        std::vector<event>* events;
        void operator()(progress_event const& e) const {
            events->push_back(
                {e.what, e.id, std::string{e.activity}, std::string{e.subject}, e.done, e.total});
        }
    };
    observer progress{&events};
};

struct quiet_env {
    no_progress progress{};
};

// What a place holds instead of a blob.
struct corrupted_store {
    std::map<digest, std::string> blobs;
    [[nodiscard]] bool contains(digest const& which) const { return blobs.contains(which); }
    [[nodiscard]] span_source reader(digest const& which) const { return span_source{blobs.at(which)}; }
};

} // namespace

TEST_CASE("copy puts children first, then names, then commits", "[copy]") {
    memory_store store;
    auto const one = put_image(store, {"shared", "one"});
    auto const two = put_image(store, {"shared", "two"});
    auto const root = put_index(store, {on(one, "linux", "amd64"), on(two, "linux", "arm64")});
    noting_sink sink;
    quiet_env env;
    copy(root, std::vector{name("1"), name("2")}, store, sink, env);

    std::vector<std::string> expected;
    for (auto const& node : read_graph(root, store).contents)
        expected.push_back("put " + node.what.digest.text());
    CHECK(expected.size() == 7);
    CHECK(expected.back() == "put " + root.digest.text());
    expected.push_back("tag " + root.digest.text() + " 1");
    expected.push_back("tag " + root.digest.text() + " 2");
    expected.emplace_back("commit");
    CHECK(sink.calls == expected);
}

TEST_CASE("copy without names keeps the root under none", "[copy]") {
    memory_store store;
    auto const root = put_image(store, {"a"});
    noting_sink sink;
    quiet_env env;
    copy(root, {}, store, sink, env);
    REQUIRE(sink.calls.size() == 5);
    CHECK(sink.calls[3] == "tag " + root.digest.text() + " ");
}

TEST_CASE("copy skips what exists", "[copy]") {
    memory_store store;
    auto const root = put_image(store, {"a", "b"});
    noting_sink sink;
    sink.there = {facts_of("a").digest, root.digest};
    quiet_env env;
    copy(root, {}, store, sink, env);
    CHECK(sink.calls.size() == 2 + 2); // layer b and the configuration
    CHECK(sink.calls[0] == "put " + facts_of("b").digest.text());
}

TEST_CASE("copy lets a sink arrange", "[copy]") {
    memory_store store;
    auto const root = put_image(store, {"a"});
    arranging sink;
    quiet_env env;
    copy(root, {}, store, sink, env);
    auto const put_root = "put " + root.digest.text();
    CHECK(std::vector<std::string>(sink.calls.begin(), sink.calls.begin() + 3) ==
          std::vector<std::string>{put_root, "put " + facts_of("a").digest.text(), put_root});

    arranging refusing;
    auto const both = put_index(store, {root, put_image(store, {"b"})});
    CHECK_THROWS_WITH(copy(both, {}, store, refusing, env), Contains("one image only"));
    CHECK(refusing.calls.empty());
}

TEST_CASE("copy tells about every content", "[copy]") {
    memory_store store;
    std::string const large(3'000'000, 'x');
    auto const root = put_image(store, {large, "there"});
    noting_sink sink;
    sink.there = {facts_of("there").digest};
    noting_env env;
    copy(root, {}, store, sink, env);

    std::set<std::uint64_t> ids;
    std::vector<std::string> subjects;
    auto event = env.events.begin();
    while (event != env.events.end()) {
        auto const first = *event;
        CHECK(first.what == progress_event::kind::started);
        CHECK(first.activity == "copy");
        CHECK(first.done == 0);
        REQUIRE(first.total);
        CHECK(ids.insert(first.id).second);
        subjects.push_back(first.subject);
        auto last = first.done;
        std::size_t steps = 0;
        for (++event; event != env.events.end() && event->what == progress_event::kind::advanced;
             ++event, ++steps) {
            CHECK(event->id == first.id);
            CHECK(event->done > last);
            last = event->done;
        }
        REQUIRE(event != env.events.end());
        CHECK(event->what == progress_event::kind::finished);
        CHECK(event->id == first.id);
        // noting_sink reads everything twice; nothing moves of what exists
        CHECK(event->done == (first.subject == facts_of("there").digest.text() ? 0 : 2 * *first.total));
        if (*first.total == large.size()) CHECK(steps >= 2);
        ++event;
    }
    CHECK(subjects.size() == 4);
    CHECK(subjects.back() == root.digest.text());
}

TEST_CASE("copy between real places", "[copy]") {
    temp_dir folder;
    memory_sink start;
    auto const one = put_image(start.store(), {"shared", std::string(1'000'000, 'o')});
    auto const root = put_index(start.store(), {on(one, "linux", "amd64"),
                                                on(put_image(start.store(), {"shared"}), "linux", "arm64")});
    noting_env env;

    layout_sink layout{folder / "a"};
    copy(root, std::vector{name("1")}, start.store(), layout, env);
    auto from_layout = layout_store{folder / "a"}.resolve("1");
    CHECK(from_layout.digest == root.digest);

    layout_sink second{folder / "b"};
    copy(from_layout, std::vector{name("2")}, layout_store{folder / "a"}, second, env);
    CHECK(layout_store{folder / "b"}.entries().size() == 1); // the name of the first place is gone
    CHECK_THROWS_AS(layout_store{folder / "b"}.resolve("1"), error);

    memory_sink end;
    copy(layout_store{folder / "b"}.resolve("2"), {}, layout_store{folder / "b"}, end, env);
    CHECK(end.store().blobs() == start.store().blobs());
    CHECK(end.images().at(0).root.digest == root.digest);
}

TEST_CASE("copy within one store only adds names", "[copy]") {
    temp_dir folder;
    layout_sink sink{folder / "layout"};
    auto const root = put_image(sink.store(), {"a"});
    noting_env env;
    copy(root, std::vector{name("1")}, sink.store(), sink, env);
    CHECK(env.events.empty());
    auto const before = snapshot(folder / "layout");

    // Another name for an image that is there, through a new sink.
    layout_sink again{folder / "layout"};
    copy(again.store().resolve("1"), std::vector{name("2")}, again.store(), again, env);
    CHECK(env.events.empty());
    auto after = snapshot(folder / "layout");
    CHECK(layout_store{folder / "layout"}.entries().size() == 2);
    after["/index.json"] = before.at("/index.json");
    CHECK(after == before);

    // Two stores of one directory are two stores, and the blobs are found to exist.
    layout_sink third{folder / "layout"};
    copy(root, std::vector{name("3")}, layout_store{folder / "layout"}, third, env);
    CHECK(env.events.size() == 2 * 3);
    CHECK(layout_store{folder / "layout"}.entries().size() == 3);
}

TEST_CASE("copy heals what is damaged at its destination", "[copy]") {
    temp_dir folder;
    memory_store store;
    auto const root = put_image(store, {"hello"});
    quiet_env env;
    auto const deliver = [&] {
        layout_sink sink{folder / "layout"};
        copy(root, std::vector{name("1")}, store, sink, env);
    };
    deliver();
    auto const good = snapshot(folder / "layout");
    auto const text = GENERATE(as<std::string>{}, "hellO", "", "hello and more");
    write_text(blob_path(folder / "layout", facts_of("hello").digest), text);
    deliver();
    CHECK(snapshot(folder / "layout") == good);
}

TEST_CASE("copy lets nothing of a bad source become visible", "[copy]") {
    memory_store good;
    std::string const layer(600'000, 'l');
    auto const root = put_image(good, {"first", layer});
    corrupted_store store{good.blobs()};
    auto asked = root;
    auto expected = error_code::digest_mismatch;
    auto& damaged = store.blobs[facts_of(layer).digest];

    SECTION("the first byte") {
        damaged.front() ^= 1;
    }
    SECTION("the last byte") {
        damaged.back() ^= 1;
    }
    SECTION("cut short") {
        damaged.pop_back();
    }
    SECTION("emptied") {
        damaged.clear();
    }
    SECTION("gone") {
        store.blobs.erase(facts_of(layer).digest);
        expected = error_code::not_found;
    }
    SECTION("the manifest") {
        store.blobs[root.digest].front() = ' ';
    }
    SECTION("the size of the root") {
        ++asked.size;
    }
    SECTION("longer than promised") {
        damaged += 'x';
        // A sink that only takes what it was promised gets the right bytes.
        counting_bytes sink;
        quiet_env env;
        copy(asked, {}, store, sink, env);
        CHECK(sink.calls[1] == "got 600000");
    }

    auto const check = [&](auto& sink) {
        quiet_env env;
        try {
            copy(asked, std::vector{name("1")}, store, sink, env);
            FAIL("no error");
        } catch (error const& failure) {
            CHECK(failure.code() == expected);
        }
    };
    temp_dir folder;
    {
        layout_sink sink{folder / "layout"};
        check(sink);
    }
    CHECK(std::filesystem::is_empty(folder.path()));
    memory_sink memory;
    check(memory);
    CHECK(memory.images().empty());
    CHECK_FALSE(memory.store().contains(root.digest)); // a parent is never put before its children
    noting_sink notes;
    check(notes);
    CHECK(std::find(notes.calls.begin(), notes.calls.end(), "commit") == notes.calls.end());
}

TEST_CASE("a sink that counts bytes cannot be fooled", "[copy]") {
    memory_store good;
    auto const root = put_image(good, {"first", "second"});
    corrupted_store store{good.blobs()};
    store.blobs[facts_of("second").digest].back() ^= 1;
    counting_bytes sink;
    quiet_env env;
    CHECK_THROWS_AS(copy(root, {}, store, sink, env), digest_mismatch);
    CHECK(sink.calls == std::vector<std::string>{"got 5"});
}
