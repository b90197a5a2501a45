#include <shiplap/sink/overall_progress.hpp>

#include <thread>
#include <vector>

#include <support/catch.hpp>

using namespace shiplap;
using detail::overall_progress;

namespace {

struct told {
    progress_event::kind what;
    std::uint64_t done, total;
};

/// What an observer hears of "deliver".
struct listener {
    std::vector<told> heard;
    void operator()(progress_event const& event) {
        CHECK(event.activity == "deliver");
        heard.push_back({event.what, event.done, event.total.value_or(0)});
    }
};

descriptor root() {
    return {"application/vnd.oci.image.manifest.v1+json", digest::of<sha256>(as_bytes("root")), 4};
}

} // namespace

TEST_CASE("nothing is told before it is known how much there is") {
    listener observer;
    overall_progress whole{progress_ref{observer}};
    whole.moved(100'000);
    whole.spared(1);
    whole.finish();
    CHECK(observer.heard.empty());
}

TEST_CASE("what has gone early counts, and what is there already is less to do") {
    listener observer;
    overall_progress whole{progress_ref{observer}};
    whole.moved(100'000);
    whole.spared(300'000);
    whole.expect(root(), 1'000'000);
    whole.moved(200'000);
    whole.spared(400'000);
    whole.finish();
    REQUIRE(observer.heard.size() == 4);
    CHECK(observer.heard[0].total == 700'000);
    CHECK(observer.heard[1].done == 100'000);
    CHECK(observer.heard[2].done == 300'000);
    CHECK(observer.heard[3].what == progress_event::kind::finished);
    CHECK(observer.heard[3].done == 300'000);
    CHECK(observer.heard[3].total == 300'000);
}

TEST_CASE("several threads move bytes of one image") {
    listener observer;
    overall_progress whole{progress_ref{observer}};
    whole.expect(root(), 4 * 1000 * 100);
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i)
        threads.emplace_back([&] {
            for (int k = 0; k < 1000; ++k) whole.moved(100);
        });
    for (auto& thread : threads) thread.join();
    whole.finish();
    CHECK(observer.heard.back().done == 400'000);
}
