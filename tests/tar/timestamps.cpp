#include <shiplap/tar/timestamps.hpp>

#include "support/catch.hpp"

using namespace shiplap;

static_assert(timestamp_policy<keep_timestamps>);
static_assert(timestamp_policy<clamp_timestamps>);
static_assert(timestamp_policy<timestamps_ref>);
static_assert(!timestamp_policy<int>);

TEST_CASE("clamp_timestamps lowers later times and leaves the rest") {
    clamp_timestamps const policy{{1'500'000'000, 500}};
    struct row {
        timestamp in, out;
    };
    auto const [in, out] = GENERATE(values<row>({
        {{1'500'000'000, 499}, {1'500'000'000, 499}},
        {{1'500'000'000, 500}, {1'500'000'000, 500}},
        {{1'500'000'000, 501}, {1'500'000'000, 500}},
        {{1'500'000'001, 0}, {1'500'000'000, 500}},
        {{-7, 999'999'999}, {-7, 999'999'999}},
        {{0, 0}, {0, 0}},
    }));
    CHECK(policy(in) == out);
    CHECK(policy(policy(in)) == policy(in));
    CHECK(timestamps_ref{policy}(in) == out);
    CHECK(keep_timestamps{}(in) == in);
    CHECK(timestamps_ref{}(in) == in);
}

TEST_CASE("A reference knows whether times may change") {
    keep_timestamps const keep;
    clamp_timestamps const clamp{};
    struct {
        timestamp operator()(timestamp time) const { return {time.seconds + 1, 0}; }
    } const later;
    CHECK(timestamps_ref{}.keeps());
    CHECK(timestamps_ref{keep}.keeps());
    CHECK_FALSE(timestamps_ref{clamp}.keeps());
    CHECK_FALSE(timestamps_ref{later}.keeps());
    CHECK(timestamps_ref{later}({4, 5}) == timestamp{5, 0});
}

TEST_CASE("A policy that takes notes can be asked for its bare rule") {
    struct noting {
        timestamps_ref from;
        int* notes;
        timestamp operator()(timestamp time) const { return ++*notes, from(time); }
        [[nodiscard]] std::optional<timestamp> latest() const { return from.latest(); }
        [[nodiscard]] timestamps_ref rule() const { return from.rule(); }
    };
    clamp_timestamps const clamp{{10, 0}};
    int notes = 0, inner_notes = 0;
    noting const inner{timestamps_ref{clamp}, &inner_notes};
    noting const outer{timestamps_ref{inner}, &notes};
    auto const rule = timestamps_ref{outer}.rule();
    CHECK(rule({11, 0}) == timestamp{10, 0});
    CHECK(rule.rule()({11, 0}) == timestamp{10, 0});
    CHECK(rule.latest() == timestamp{10, 0});
    CHECK((notes == 0 && inner_notes == 0));
    CHECK(timestamps_ref{outer}({11, 0}) == timestamp{10, 0});
    CHECK((notes == 1 && inner_notes == 1));
    CHECK(timestamps_ref{}.rule()({11, 0}) == timestamp{11, 0});
}
