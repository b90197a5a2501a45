#include <shiplap/bytes/activity.hpp>
#include <shiplap/bytes/pipeline.hpp>

#include "support/catch.hpp"

#include <vector>

using namespace shiplap;

TEST_CASE("an activity tells its start, every 64 KiB, and its end", "[activity]") {
    std::vector<std::pair<progress_event::kind, std::uint64_t>> heard;
    std::uint64_t id = 0;
    auto observer = [&](progress_event const& event) {
        heard.emplace_back(event.what, event.done);
        CHECK(event.activity == "pack");
        CHECK(event.subject == "dir:app");
        CHECK(event.total == 5'000'000U);
        CHECK((id == 0 || id == event.id));
        id = event.id;
    };
    {
        detail::activity one{progress_ref{observer}, "pack", "dir:app", 5'000'000};
        detail::meter meter{one};
        string_sink out;
        pipeline pipe{meter, out};
        for (int i = 0; i < 500; ++i) pipe.write(as_bytes(std::string(10'000, 'x')));
        pipe.finish();
        one.finish();
        CHECK(out.text.size() == 5'000'000);
    }
    using kind = progress_event::kind;
    REQUIRE(heard.size() == 2 + 500 / 7); // 7 writes are the first to make 64 KiB
    CHECK(heard.front() == std::pair{kind::started, std::uint64_t{0}});
    for (std::size_t i = 1; i + 1 < heard.size(); ++i) CHECK(heard[i].first == kind::advanced);
    CHECK(heard.back() == std::pair{kind::finished, std::uint64_t{5'000'000}});

    detail::activity const other{progress_ref{}, "pack", "dir:app", {}};
    CHECK(detail::next_activity_id() > id + 1); // each has a number of its own
}

TEST_CASE("an activity that is never finished tells no end", "[activity]") {
    int finished = 0;
    auto observer = [&](progress_event const& event) {
        finished += event.what == progress_event::kind::finished ? 1 : 0;
    };
    { detail::activity const one{progress_ref{observer}, "copy", "x", {}}; }
    CHECK(finished == 0);
}
