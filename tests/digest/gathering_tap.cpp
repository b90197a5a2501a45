#include <shiplap/bytes/pipeline.hpp>
#include <shiplap/digest/gathering_tap.hpp>

#include "support/catch.hpp"

#include <algorithm>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

using namespace shiplap;

namespace {

/// Notes the sizes of what it gets.
struct sizes_sink {
    std::string text{};
    std::vector<std::size_t> sizes{};
    void write(bytes_view in) {
        sizes.push_back(in.size());
        text.append(as_text(in));
    }
};

/// Keeps tasks until it is told to run them: a pool whose workers are busy.
struct busy_executor {
    std::vector<std::function<void()>> tasks{};
    [[nodiscard]] static unsigned concurrency() noexcept { return 1; }
    void post(std::function<void()> task) { tasks.push_back(std::move(task)); }
};

std::string letters(std::size_t size, std::size_t seed) {
    std::string text(size, '\0');
    for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>('a' + (i * 7 + seed) % 26);
    return text;
}

constexpr std::size_t sizes[] = {1, 511,       65'536,  1'000'000, 0,     70'000,
                                 3, 3'000'000, 200'000, 5'000'000, 48'577};

} // namespace

TEST_CASE("a gathering tap changes nothing and knows what passed, with and without threads",
          "[gathering_tap]") {
    auto const workers = GENERATE(0U, 1U, 4U);
    bool const lent = GENERATE(false, true);
    thread_pool pool{workers};
    gathering_tap<sha512> stage{workers == 0 ? executor_ref{} : executor_ref{pool}};
    sizes_sink out;
    pipeline pipe{stage, out};
    static_assert(lending_sink<decltype(pipe)>);
    std::string all;
    for (auto const size : sizes) {
        auto const piece = letters(size, all.size());
        if (lent) {
            for (std::string_view rest{piece}; !rest.empty();) {
                auto const room = pipe.room();
                REQUIRE(!room.empty());
                auto const n = rest.copy(reinterpret_cast<char*>(room.data()), room.size());
                pipe.filled(n);
                rest.remove_prefix(n);
            }
        } else {
            pipe.write(as_bytes(piece));
        }
        all += piece;
    }
    pipe.finish();
    CHECK(out.text == all);
    CHECK(std::all_of(out.sizes.begin(), out.sizes.end() - 1,
                      [](auto size) { return size == 4 * transfer_size; }));
    CHECK(stage.seen().facts().size == all.size());
    auto const facts = stage.facts();
    CHECK(facts.size == all.size());
    CHECK(facts.digest == digest::of<sha512>(as_bytes(all)));
}

TEST_CASE("nothing gathered: nothing passed on, the digest of nothing", "[gathering_tap]") {
    gathering_tap<sha256> stage;
    sizes_sink out;
    stage.write({}, out);
    stage.finish(out);
    CHECK(out.sizes.empty());
    CHECK(stage.facts().digest == digest::of<sha256>({}));
}

TEST_CASE("where no worker has time the writer hashes, and late tasks find nothing to do",
          "[gathering_tap]") {
    busy_executor busy;
    auto const all = letters(20'000'000, 0);
    std::optional<content_facts> facts;
    {
        gathering_tap<sha256> stage{executor_ref{busy}};
        string_sink out;
        stage.write(as_bytes(all), out);
        stage.finish(out);
        CHECK(out.text == all);
        CHECK(busy.tasks.size() == 1); // called once: it would do all
        bool const in_between = GENERATE(false, true);
        if (in_between) busy.tasks.front()();
        facts = stage.facts();
    }
    for (auto const& task : busy.tasks) task();
    CHECK(facts->digest == digest::of<sha256>(as_bytes(all)));
}

TEST_CASE("two gathering taps on one busy pool, each behind the other, come to an end", "[gathering_tap]") {
    thread_pool pool{1};
    for (int i = 0; i < 20; ++i) {
        gathering_tap<sha256> first{executor_ref{pool}}, second{executor_ref{pool}};
        string_sink out;
        pipeline pipe{first, second, out};
        auto const all = letters(6'000'000, static_cast<std::size_t>(i));
        pipe.write(as_bytes(all));
        pipe.finish();
        CHECK(out.text == all);
        CHECK(first.facts().digest == second.facts().digest);
    }
}

TEST_CASE("tasks may outlive a gathering tap whose successor throws", "[gathering_tap]") {
    struct {
        void write(bytes_view) { throw std::runtime_error{"full"}; }
    } full;
    thread_pool pool{1};
    for (int i = 0; i < 50; ++i) {
        std::string const large(3'000'000, 'x'); // gone as soon as write() has thrown
        gathering_tap<sha256> stage{executor_ref{pool}};
        CHECK_THROWS_AS(stage.write(as_bytes(large), full), std::runtime_error);
    }
}

TEST_CASE("what was seen goes on apart from the stage", "[gathering_tap]") {
    thread_pool pool{2};
    gathering_tap<sha256> stage{executor_ref{pool}};
    null_sink nowhere;
    auto const start = letters(3'000'000, 5);
    stage.write(as_bytes(start), nowhere);
    stage.finish(nowhere);
    auto other = stage.seen();
    other.write(as_bytes("b"), nowhere);
    CHECK(other.facts().digest == digest::of<sha256>(as_bytes(start + "b")));
    CHECK(stage.facts().digest == digest::of<sha256>(as_bytes(start)));
}
