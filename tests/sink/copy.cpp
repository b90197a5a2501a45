#include <shiplap/sink/copy.hpp>
#include <shiplap/sink/layout.hpp>
#include <shiplap/sink/memory.hpp>

#include "store/samples.hpp"
#include "support/catch.hpp"
#include "support/temp.hpp"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <thread>

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

// Says of all that it has that it need not be verified, if the size is right.
struct owning : corrupted_store {
    [[nodiscard]] bool owns(content_facts const& what) const {
        auto const found = blobs.find(what.digest);
        return found != blobs.end() && found->second.size() == what.size;
    }
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
    REQUIRE(!env.events.empty());
    CHECK(env.events.back().what == progress_event::kind::publishing);
    CHECK(env.events.back().subject == root.digest.text());
    env.events.pop_back();

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
        // noting_sink reads everything twice, which counts once; nothing moves of what exists
        CHECK(event->done == (first.subject == facts_of("there").digest.text() ? 0 : *first.total));
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
    CHECK(env.events.size() == 1); // of what becomes visible
    auto const before = snapshot(folder / "layout");

    // Another name for an image that is there, through a new sink.
    layout_sink again{folder / "layout"};
    copy(again.store().resolve("1"), std::vector{name("2")}, again.store(), again, env);
    CHECK(env.events.size() == 1 + 1);
    auto after = snapshot(folder / "layout");
    CHECK(layout_store{folder / "layout"}.entries().size() == 2);
    after["/index.json"] = before.at("/index.json");
    CHECK(after == before);

    // Two stores of one directory are two stores, and the blobs are found to exist.
    layout_sink third{folder / "layout"};
    copy(root, std::vector{name("3")}, layout_store{folder / "layout"}, third, env);
    CHECK(env.events.size() == 2 + 2 * 3 + 1);
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

// --- sinks on the other side of a network

namespace {

struct gave_up {};

/// Notes from any thread. What happens in a put of a layer or configuration is `work`.
struct remote {
    struct state {
        std::mutex mutex;
        std::condition_variable changed;
        std::set<digest> there;
        std::vector<std::string> calls;    // "put", "tag" and "commit", with what they were for
        unsigned now = 0, most = 0;        // puts at once
        std::map<digest, unsigned> losses; // how often a content will vanish before a manifest comes
    };
    unsigned at_once = 4;
    std::function<void(state&, descriptor const&, replayable_source_ref)> work =
        [](state&, descriptor const&, replayable_source_ref from) {
            string_sink out;
            transfer(from, out);
        };
    std::unique_ptr<state> all = std::make_unique<state>();
    bool refuses = false;

    [[nodiscard]] unsigned transfers() const { return at_once; }
    void connect() const {
        if (refuses) throw gave_up{};
    }
    [[nodiscard]] bool exists(descriptor const& what) const {
        std::lock_guard const lock{all->mutex};
        return all->there.contains(what.digest);
    }
    void put(descriptor const& what, replayable_source_ref from) const {
        auto const begin = [&] {
            std::lock_guard const lock{all->mutex};
            all->most = std::max(all->most, ++all->now);
            all->changed.notify_all();
        };
        begin();
        if (is_document(what)) lose_some(what, from);
        try {
            work(*all, what, from);
        } catch (...) {
            std::lock_guard const lock{all->mutex};
            --all->now;
            throw;
        }
        std::lock_guard const lock{all->mutex};
        --all->now;
        all->there.insert(what.digest);
        all->calls.push_back("put " + what.digest.text());
    }
    void tag(descriptor const& root, image_name const&) const {
        all->calls.push_back("tag " + root.digest.text());
    }
    void commit() const { all->calls.emplace_back("commit"); }

  private:
    // A parent comes, and what it needs has vanished.
    void lose_some(descriptor const& what, replayable_source_ref from) const {
        string_sink text;
        transfer(from, text);
        from.rewind();
        std::vector<descriptor> lost;
        std::lock_guard const lock{all->mutex};
        for (auto& [which, times] : all->losses) {
            if (times == 0 || text.text.find(which.text()) == std::string::npos) continue;
            --times;
            all->there.erase(which);
            bool const child = is_index_type(what.media_type);
            lost.push_back(
                {.media_type = std::string{child ? oci_media_types::manifest : oci_media_types::config},
                 .digest = which,
                 .size = sizes.at(which)});
        }
        if (lost.empty()) return;
        --all->now;
        throw content_missing{what.digest.text(), std::move(lost)};
    }

  public:
    std::map<digest, std::uint64_t> sizes{}; // of what may be lost
};

std::vector<std::string> numbered_layers(unsigned number) {
    std::vector<std::string> texts;
    for (unsigned i = 0; i < number; ++i) texts.push_back("layer " + std::to_string(i));
    return texts;
}

// A store whose readers throw, or never end.
struct odd_store {
    memory_store const* blobs;
    digest odd;
    bool endless = false;
    struct odd_reader {
        span_source from;
        bool throws, endless;
        std::size_t read(bytes_span into) {
            if (throws) throw gave_up{};
            if (endless) {
                std::this_thread::sleep_for(std::chrono::milliseconds{1});
                return from.read(into.first(std::min<std::size_t>(1, into.size())));
            }
            return from.read(into);
        }
        void rewind() { from.rewind(); }
    };
    [[nodiscard]] bool contains(digest const& which) const { return blobs->contains(which); }
    [[nodiscard]] odd_reader reader(digest const& which) const {
        auto from = blobs->reader(which);
        auto const& text = blobs->blobs().at(which);
        bool const layer = text.find('{') == text.npos;
        return {from, which == odd, layer && endless};
    }
};

} // namespace

TEST_CASE("a remote sink gets several contents at once, and manifests after them", "[copy]") {
    auto const at_once = GENERATE(1U, 2U, 4U);
    memory_store store;
    auto const one = put_image(store, numbered_layers(12));
    auto const root = put_index(store, {on(one, "linux", "amd64")});
    remote sink{.at_once = at_once};
    sink.work = [at_once](remote::state& all, descriptor const& what, replayable_source_ref from) {
        string_sink out;
        transfer(from, out);
        if (is_document(what)) return;
        // The first ones wait for each other: all that may be on their way are.
        std::unique_lock lock{all.mutex};
        (void)all.changed.wait_for(lock, std::chrono::seconds{5}, [&] { return all.most >= at_once; });
    };
    quiet_env env;
    copy(root, std::vector{name("1")}, store, sink, env);
    CHECK(sink.all->most == at_once);
    auto const& calls = sink.all->calls;
    REQUIRE(calls.size() == 13 + 2 + 2);
    CHECK(calls[13] == "put " + one.digest.text());
    CHECK(calls[14] == "put " + root.digest.text());
    CHECK(calls[15] == "tag " + root.digest.text());
    CHECK(calls[16] == "commit");
}

TEST_CASE("the first failure of a remote sink or its source ends all, unchanged and soon", "[copy]") {
    memory_store store;
    auto texts = numbered_layers(8);
    for (auto& text : texts) text += std::string(100'000, '.'); // 100 s for a slow reader
    auto const root = put_image(store, texts);
    auto const bad = facts_of(texts[2]).digest;
    bool const by_source = GENERATE(true, false);
    odd_store const source{&store, by_source ? bad : facts_of("none").digest, true};
    remote sink;
    sink.work = [&](remote::state&, descriptor const& what, replayable_source_ref from) {
        if (!by_source && what.digest == bad) throw gave_up{};
        string_sink out;
        transfer(from, out);
    };
    quiet_env env;
    auto const begin = std::chrono::steady_clock::now();
    CHECK_THROWS_AS(copy(root, std::vector{name("1")}, source, sink, env), gave_up);
    CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds{5});
    CHECK(sink.all->calls.empty());
    CHECK(sink.all->now == 0);
}

TEST_CASE("what a remote sink has lost is put again", "[copy]") {
    memory_store store;
    auto const one = put_image(store, {"a", "b"});
    auto const root = put_index(store, {on(one, "linux", "amd64")});
    auto const config = read_graph(one, store).contents.at(2).what;
    struct row {
        unsigned config, manifest; // losses
        std::size_t puts;          // 0: too many losses
    };
    auto const lost =
        GENERATE(values<row>({{0, 0, 5}, {1, 0, 6}, {3, 0, 8}, {0, 1, 6}, {0, 3, 8}, {4, 0, 0}, {0, 4, 0}}));
    INFO(lost.config << " and " << lost.manifest);
    remote sink;
    sink.sizes = {{config.digest, config.size}, {one.digest, one.size}};
    sink.all->losses = {{config.digest, lost.config}, {one.digest, lost.manifest}};
    quiet_env env;
    if (lost.puts == 0) {
        CHECK_THROWS_AS(copy(root, std::vector{name("1")}, store, sink, env), content_missing);
        CHECK(std::find(sink.all->calls.begin(), sink.all->calls.end(), "commit") == sink.all->calls.end());
        return;
    }
    copy(root, std::vector{name("1")}, store, sink, env);
    CHECK(sink.all->calls.size() == lost.puts + 2);
    CHECK(sink.all->there.size() == 5);
}

TEST_CASE("a manifest that was lost brings what it lost itself", "[copy]") {
    memory_store store;
    auto const one = put_image(store, {"a"});
    auto const root = put_index(store, {on(one, "linux", "amd64")});
    auto const config = read_graph(one, store).contents.at(1).what;
    remote sink;
    sink.sizes = {{config.digest, config.size}, {one.digest, one.size}};
    quiet_env env;
    copy(one, {}, store, sink, env);
    sink.all->losses = {{config.digest, 1},
                        {one.digest, 1}}; // the index comes first, then the manifest again
    copy(root, {}, store, sink, env);
    CHECK(sink.all->there.size() == 4);
}

TEST_CASE("a remote sink that refuses is asked for nothing else", "[copy]") {
    memory_store store;
    auto const root = put_image(store, {"a"});
    remote sink;
    sink.refuses = true;
    quiet_env env;
    CHECK_THROWS_AS(copy(root, {}, store, sink, env), gave_up);
    CHECK(sink.all->calls.empty());
}

TEST_CASE("contents set off one by one, and each once", "[copy]") {
    memory_store store;
    remote sink;
    std::vector<descriptor> all;
    for (auto const& text : numbered_layers(20)) all.push_back(put(store, text, "x/y"));
    no_progress quiet;

    SECTION("all of them") {
        detail::background_copy<memory_store, remote> under_way{store, sink, progress_ref{quiet}};
        for (auto const& what : all) under_way.add(what);
        for (auto const& what : all) under_way.add(what);
        under_way.wait();
        CHECK(sink.all->calls.size() == 20);
        CHECK(sink.all->most <= 4);
    }
    SECTION("none") {
        detail::background_copy<memory_store, remote> under_way{store, sink, progress_ref{quiet}};
        under_way.wait();
        CHECK(sink.all->calls.empty());
    }
    SECTION("nobody waits for them") {
        std::string const endless(1'000'000, '.');
        all.push_back(put(store, endless, "x/y"));
        odd_store const slow{&store, facts_of("none").digest, true};
        auto const begin = std::chrono::steady_clock::now();
        {
            detail::background_copy<odd_store, remote> under_way{slow, sink, progress_ref{quiet}};
            for (auto const& what : all) under_way.add(what);
        }
        CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds{5});
    }
    SECTION("who adds more hears of the failure") {
        sink.work = [](remote::state&, descriptor const&, replayable_source_ref) { throw gave_up{}; };
        detail::background_copy<memory_store, remote> under_way{store, sink, progress_ref{quiet}};
        under_way.add(all[0]);
        CHECK_THROWS_AS(
            [&] {
                for (int i = 0; i < 1000; ++i) {
                    std::this_thread::sleep_for(std::chrono::milliseconds{1});
                    auto more = all[1 + static_cast<std::size_t>(i) % 19];
                    under_way.add(more);
                }
            }(),
            gave_up);
        CHECK_THROWS_AS(under_way.wait(), gave_up);
    }
}

TEST_CASE("copy verifies all but what its source owns", "[copy]") {
    no_progress quiet;
    auto const facts = facts_of("hello");
    descriptor what{.media_type = "x/y", .digest = facts.digest, .size = facts.size};
    owning const from{{{{facts.digest, "HELLO"}}}}; // so that one can tell
    noting_sink sink;
    detail::copy_content(what, from, sink, progress_ref{quiet});
    CHECK(sink.calls == std::vector{"put " + facts.digest.text()});

    CHECK_THROWS_AS(
        detail::copy_content(what, static_cast<corrupted_store const&>(from), sink, progress_ref{quiet}),
        digest_mismatch);
    what.size = 4; // owned are those five bytes, no others
    CHECK_THROWS_AS(detail::copy_content(what, from, sink, progress_ref{quiet}), digest_mismatch);
    CHECK(sink.calls.size() == 1);
}

TEST_CASE("a reader that was opened before its content was owned is not trusted", "[copy]") {
    no_progress quiet;
    auto const facts = facts_of("hello");
    descriptor const what{.media_type = "x/y", .digest = facts.digest, .size = facts.size};
    static std::string const right = "hello", wrong = "HELLO";
    remote sink;
    std::string got;
    sink.work = [&](remote::state&, descriptor const&, replayable_source_ref from) {
        string_sink out;
        transfer(from, out);
        got = out.text;
    };
    owning from;
    SECTION("and replaced by one of what is owned") {
        from.blobs.insert({facts.digest, right});
        detail::background_copy<owning, remote> under_way{from, sink, progress_ref{quiet}};
        under_way.add(what, span_source{wrong});
        under_way.wait();
        CHECK(got == right);
    }
    SECTION("or verified") {
        detail::background_copy<owning, remote> under_way{from, sink, progress_ref{quiet}};
        under_way.add(what, span_source{wrong});
        CHECK_THROWS_AS(under_way.wait(), digest_mismatch);
    }
}

TEST_CASE("large contents reach a remote sink whole and verified, however often they are read", "[copy]") {
    memory_store store;
    auto text = std::string(6U << 20, 'x');
    for (std::size_t i = 0; i < text.size(); i += 1000) text[i] = static_cast<char>(i / 1000);
    auto const what = put(store, text, "x/y");
    no_progress quiet;
    remote sink;
    bool all_right = false;
    sink.work = [&](remote::state&, descriptor const&, replayable_source_ref from) {
        std::vector<std::byte> half(text.size() / 2);
        read_fully(from, half);
        from.rewind(); // as after a failed request
        string_sink out;
        transfer(from, out);
        all_right = out.text == text;
    };
    SECTION("as they are") {
        detail::background_copy<memory_store, remote> under_way{store, sink, progress_ref{quiet}};
        under_way.add(what);
        under_way.wait();
        CHECK(all_right);
    }
    SECTION("damaged") {
        auto changed = text;
        changed.back() = '!';
        corrupted_store const from{{{what.digest, changed}}};
        detail::background_copy<corrupted_store, remote> under_way{from, sink, progress_ref{quiet}};
        under_way.add(what);
        CHECK_THROWS_AS(under_way.wait(), digest_mismatch);
        CHECK_FALSE(all_right);
    }
}
