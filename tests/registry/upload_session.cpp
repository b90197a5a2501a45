#include <shiplap/registry/upload_session.hpp>

#include <string>
#include <utility>
#include <vector>

#include <support/catch.hpp>

using namespace shiplap;

// Which places are refused is in location.cpp.

namespace {

http_response answer_with(std::vector<std::pair<std::string, std::string>> const& fields) {
    http_headers headers;
    for (auto const& [name, value] : fields) headers.add(name, value);
    return {202, std::move(headers), any_byte_source{null_source{}}};
}

url const asked = url::parse("https://r.io/v2/app/blobs/uploads/?digest-algorithm=sha512");

} // namespace

TEST_CASE("an upload starts where the Location says", "[registry]") {
    auto const first = first_session(asked, answer_with({{"Location", "/u/1?_state=a%3D"}}));
    CHECK(first.location.text() == "https://r.io/u/1?_state=a%3D");
    CHECK(first.min_chunk == 0);
    CHECK_THROWS_AS(first_session(asked, answer_with({})), registry_error);
    CHECK_THROWS_AS(first_session(asked, answer_with({{"Location", "/a"}, {"Location", "/b"}})),
                    registry_error);
}

TEST_CASE("each answer may send it elsewhere", "[registry]") {
    auto const first =
        first_session(asked, answer_with({{"Location", "/u/1"}, {"OCI-Chunk-Min-Length", "7"}}));
    auto const silent = progress_after(first, answer_with({}));
    CHECK(silent.session.location.text() == "https://r.io/u/1");
    CHECK(silent.session.min_chunk == 7);
    CHECK_FALSE(silent.received);

    auto const next = progress_after(first, answer_with({{"Location", "2?s"}, {"Range", "0-9"}}));
    CHECK(next.session.location.text() == "https://r.io/u/2?s"); // seen from the place before
    CHECK(next.received == 10);
    CHECK_THROWS_AS(progress_after(first, answer_with({{"Location", "http://r.io/u/1"}})), registry_error);
}

TEST_CASE("the least length of a piece is a number", "[registry]") {
    for (auto const* const junk : {"", "-1", "1 MiB", "0x10", "99999999999999999999"})
        CHECK(first_session(asked, answer_with({{"Location", "/u"}, {"OCI-Chunk-Min-Length", junk}}))
                  .min_chunk == 0);
}
