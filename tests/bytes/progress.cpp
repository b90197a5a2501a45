#include <shiplap/bytes/progress.hpp>

#include "support/catch.hpp"

#include <string>
#include <vector>

using namespace shiplap;

namespace {

struct picky {
    int events = 0;
    void operator()(progress_event const&) { ++events; }
    static bool wants_totals() { return false; }
};

static_assert(progress_observer<no_progress> && progress_observer<progress_ref> && progress_observer<picky>);
static_assert(!progress_observer<int>);

} // namespace

TEST_CASE("a progress_ref hands events to its observer", "[progress]") {
    std::vector<std::string> heard;
    auto observer = [&](progress_event const& event) {
        heard.emplace_back(event.what == progress_event::kind::warning ? event.text : event.subject);
    };
    progress_ref const ref{observer};
    progress_event event;
    event.subject = "layer";
    ref(event);
    ref.warn("careful");
    ref.about_to_publish("sha256:0");
    CHECK(heard == std::vector<std::string>{"layer", "careful", "sha256:0"});
    CHECK(ref.wants_totals());
}

TEST_CASE("an observer may do without totals", "[progress]") {
    picky observer;
    CHECK_FALSE(progress_ref{observer}.wants_totals());
    no_progress nobody;
    CHECK_FALSE(progress_ref{nobody}.wants_totals());
    CHECK_FALSE(progress_ref{}.wants_totals());
    progress_ref{}.warn("nobody hears this");
}
