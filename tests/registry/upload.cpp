#include <shiplap/registry/upload.hpp>

#include "registry/rig.hpp"
#include "support/catch.hpp"
#include "support/temp.hpp"

#include <csignal>
#include <filesystem>

using namespace rig;
using registry_test::always;
using registry_test::fault_action;
using registry_test::quirks;

namespace {

constexpr std::uint64_t mib = 1 << 20;

/// `size` bytes, made when they are read; `at_byte` is called when the reader gets to that byte.
struct made_source {
    std::uint64_t size;
    std::uint64_t special = ~std::uint64_t{0};
    std::function<void()> at_byte{};
    std::uint64_t at = 0;

    std::size_t read(bytes_span into) {
        auto const n = static_cast<std::size_t>(std::min<std::uint64_t>(into.size(), size - at));
        if (special >= at && special < at + n && at_byte) at_byte();
        static auto const pattern = letters(1'000'003); // a prime: no piece looks like another
        for (std::size_t done = 0; done < n;)
            done += pattern.copy(reinterpret_cast<char*>(into.data()) + done, n - done,
                                 (at + done) % pattern.size());
        at += n;
        return n;
    }
    void rewind() { at = 0; }
};

descriptor described(std::uint64_t size) {
    made_source source{size};
    digest_hasher hash{digest::of<sha256>({})};
    std::string piece(1 << 20, ' ');
    bytes_span const space{reinterpret_cast<std::byte*>(piece.data()), piece.size()};
    while (auto const n = source.read(space)) hash.update(space.first(n));
    return {.media_type = "application/octet-stream", .digest = hash.finish(), .size = size};
}

/// One upload to "app", verified as copy() does it.
void upload(test_registry const& registry, descriptor const& what, made_source from,
            upload_options const& options = {}, retry_policy const& policy = brisk) {
    auto over = open_way(policy);
    auto to = repository_in(registry, over);
    upload_habits habits;
    verified_source source{std::move(from), what.digest, what.size};
    upload_blob(to, what, source, habits, options);
}

/// "" if the blob is there.
std::string missing(test_registry const& registry, descriptor const& what) {
    return registry.blob_size("app", what.digest.text()) == what.size ? "" : "the blob is not there\n";
}

std::size_t files_in(std::string const& folder) {
    if (!std::filesystem::exists(folder)) return 0;
    return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator{folder}, {}));
}

} // namespace

TEST_CASE("blobs of any size, at once or in pieces", "[registry][upload]") {
    test_registry registry;
    auto const size = GENERATE(std::uint64_t{0}, 1, 2, 1023, 1024, 1025, 2048, 100'000);
    auto const options = GENERATE(values<upload_options>({{}, {.piece = 1024, .in_pieces = true}}));
    auto const what = described(size);
    upload(registry, what, {size}, options);
    CHECK(missing(registry, what) == "");
    CHECK(registry.bytes_uploaded() == size);
    CHECK(registry.count(request_kind::patch_upload) == (options.in_pieces ? (size + 1023) / 1024 : 0));
    CHECK(registry.open_uploads() == 0);
    CHECK(misdeeds(registry) == "");
}

TEST_CASE("other algorithms are announced, where the registry understands that", "[registry][upload]") {
    test_registry registry;
    made_source source{5'000};
    std::string bytes(5'000, ' ');
    (void)source.read({reinterpret_cast<std::byte*>(bytes.data()), bytes.size()});
    auto const what =
        descriptor{.media_type = "x/y", .digest = digest::of<sha512>(as_bytes(bytes)), .size = 5'000};
    upload(registry, what, {5'000});
    CHECK(missing(registry, what) == "");
    CHECK_THAT(registry.requests().front().target, contains("digest-algorithm=sha512"));
    CHECK(misdeeds(registry) == "");
}

TEST_CASE("small blobs break, too", "[registry][upload]") {
    std::vector<std::function<std::string()>> cases;
    for (std::uint64_t size = 1; size <= 3; ++size)
        for (std::uint64_t at = 0; at <= size; ++at)
            for (bool const pieces : {false, true})
                for (bool const keeps : {false, true})
                    for (std::size_t number = 2; number <= 3; ++number)
                        cases.emplace_back([=] {
                            test_registry registry{{.keep_partial_bodies = keeps}};
                            registry.fail_request(number, drop_connection{at});
                            auto const what = described(size);
                            upload(registry, what, {size}, {.in_pieces = pieces});
                            return missing(registry, what) + misdeeds(registry);
                        });
    CHECK(all_wrong(cases) == "");
}

TEST_CASE("what an upload makes of trouble", "[registry][upload]") {
    constexpr std::uint64_t size = 8 * mib;
    auto const what = described(size);
    auto const invalid = answer{400, {}, R"({"errors":[{"code":"DIGEST_INVALID","message":"no"}]})"};
    auto const unknown = answer{404, {}, R"({"errors":[{"code":"BLOB_UPLOAD_UNKNOWN","message":"no"}]})"};
    struct row {
        std::string name;
        request_kind on;
        unsigned nth, times;
        fault_action with;
        bool in_pieces;
        std::uint64_t again; // bytes that may be sent twice
        std::string says{};  // empty: it ends well
    };
    std::vector<row> const rows{
        {"nothing", request_kind::other, 1, 1, answer{}, false, 0},
        {"the answer to all of it got lost", request_kind::put_upload, 1, 1, lost_reply{}, false, 0},
        {"the last answer got lost", request_kind::put_upload, 1, 1, lost_reply{}, true, 0},
        {"an answer in the middle got lost", request_kind::patch_upload, 3, 1, lost_reply{}, true, 0},
        {"a piece is cut", request_kind::patch_upload, 3, 1, drop_connection{mib / 2}, true, mib / 2},
        {"each piece is cut once", request_kind::patch_upload, 1, 5, drop_connection{mib / 2}, true,
         5 * mib / 2},
        {"all of it is cut", request_kind::put_upload, 1, 1, drop_connection{5 * mib}, false, mib},
        {"an upload is forgotten", request_kind::patch_upload, 4, 1, unknown, true, 4 * mib},
        {"the digest is wrong there once", request_kind::put_upload, 1, 1, invalid, false, size},
        {"the digest is wrong there twice", request_kind::put_upload, 1, 2, invalid, false, size, "damaged"},
        {"the last request is too much", request_kind::put_upload, 1, 2, answer{503}, true, 0},
        {"pieces are too much", request_kind::patch_upload, 2, 3, answer{429}, true, 3 * mib},
        {"pieces are forbidden", request_kind::patch_upload, 2, always,
         answer{403, {}, R"({"errors":[{"code":"DENIED","message":"quota"}]})"}, true, mib, "quota"},
        {"a range that is not satisfiable", request_kind::patch_upload, 3, 1, answer{416}, true, mib},
        {"not even a beginning", request_kind::start_upload, 1, always, answer{500}, false, 0, "500"},
    };
    std::vector<std::function<std::string()>> cases;
    for (auto const& one : rows)
        cases.emplace_back([&] {
            test_registry registry{{.keep_content = false}};
            registry.fail({.on = one.on, .nth = one.nth, .times = one.times, .with = one.with});
            std::string said;
            try {
                upload(registry, what, {size}, {.piece = mib, .in_pieces = one.in_pieces},
                       {.budget = 500ms, .first_pause = 2ms, .longest_pause = 10ms});
            } catch (remote_error const& failure) {
                said = failure.what();
            }
            auto wrong = misdeeds(registry);
            if (one.says.empty() ? !said.empty() : said.find(one.says) == std::string::npos) wrong += said;
            if (one.says.empty()) wrong += missing(registry, what);
            if (registry.bytes_uploaded() > size + one.again)
                wrong += std::to_string(registry.bytes_uploaded()) + " bytes were sent\n";
            return wrong.empty() ? "" : one.name + ": " + wrong;
        });
    CHECK(all_wrong(cases) == "");
}

TEST_CASE("without a transport that retries there is one attempt", "[registry][upload]") {
    test_registry registry;
    registry.fail({.on = request_kind::put_upload, .with = drop_connection{100}});
    curl_transport over{network()};
    repository<curl_transport> to{over, host_of(registry.authority(), false), "app"};
    upload_habits habits;
    auto const what = described(5'000);
    made_source source{5'000};
    CHECK_THROWS_AS(upload_blob(to, what, source, habits), transport_error);
    upload_blob(to, what, source, habits);
    CHECK(missing(registry, what) == "");
    CHECK(misdeeds(registry) == "");
}

TEST_CASE("a push that was killed goes on where it was", "[registry][upload]") {
    constexpr std::uint64_t size = 40 * mib, piece = 4 * mib;
    auto const what = described(size);
    bool const in_pieces = GENERATE(true, false);
    // Without pieces, all depends on a registry that keeps what it got.
    bool const keeps = !in_pieces || GENERATE(true, false);
    temp_dir folder;
    upload_journal const journal{folder / "state"};
    upload_options const options{
        .piece = piece, .in_pieces = in_pieces, .worth_a_record = 8 * mib, .journal = &journal};
    for (std::uint64_t const point : {std::uint64_t{0}, mib, 4 * mib - 1, 4 * mib, 7 * mib, 13 * mib,
                                      20 * mib, 31 * mib, 39 * mib, size - 1}) {
        test_registry registry{{.keep_partial_bodies = keeps, .keep_content = false}};
        auto const status = samples::in_child([&] {
            upload(registry, what, {size, point, [] { ::raise(SIGKILL); }}, options);
            return 0;
        });
        REQUIRE(WIFSIGNALED(status));
        REQUIRE(registry.wait_until_idle());
        CHECK(files_in(folder / "state/uploads") == 1);
        upload(registry, what, {size}, options);
        CHECK(missing(registry, what) == "");
        INFO("killed at " << point);
        CHECK(registry.bytes_uploaded() <= size + piece);
        CHECK(files_in(folder / "state/uploads") == 0);
        CHECK(misdeeds(registry) == "");
    }
}

TEST_CASE("what ends an upload decides whether it can go on", "[registry][upload]") {
    constexpr std::uint64_t size = 10 * mib;
    auto const what = described(size);
    temp_dir folder;
    upload_journal const journal{folder / "state"};
    upload_options const options{.piece = mib, .in_pieces = true, .worth_a_record = mib, .journal = &journal};
    test_registry registry{{.keep_content = false}};
    struct stopped {};

    SECTION("who stopped it: yes") {
        CHECK_THROWS_AS(upload(registry, what, {size, 6 * mib, [] { throw stopped{}; }}, options), stopped);
        CHECK(files_in(folder / "state/uploads") == 1);
        CHECK(registry.open_uploads() == 1);
        upload(registry, what, {size}, options);
        CHECK(registry.bytes_uploaded() <= size + mib);
    }
    SECTION("a refused mount gave another upload: it is not needed") {
        CHECK_THROWS_AS(upload(registry, what, {size, 6 * mib, [] { throw stopped{}; }}, options), stopped);
        auto over = open_way();
        auto to = repository_in(registry, over);
        upload_habits habits;
        made_source source{size};
        upload_blob(to, what, source, habits, options, to.start_upload(what.digest));
        CHECK(registry.bytes_uploaded() <= size + mib);
    }
    SECTION("who stopped it, without a journal: no") {
        auto const forgetful = upload_options{.piece = mib, .in_pieces = true};
        CHECK_THROWS_AS(upload(registry, what, {size, 6 * mib, [] { throw stopped{}; }}, forgetful), stopped);
        CHECK(registry.count(request_kind::cancel_upload, 204) == 1);
        upload(registry, what, {size}, forgetful);
    }
    SECTION("a registry that is out of order: yes") {
        registry.fail({.on = request_kind::patch_upload, .nth = 7, .times = always, .with = answer{503}});
        CHECK_THROWS_AS(upload(registry, what, {size}, options,
                               {.budget = 50ms, .first_pause = 2ms, .longest_pause = 10ms}),
                        registry_error);
        registry.clear_faults();
        auto const before = registry.bytes_uploaded();
        upload(registry, what, {size}, options);
        CHECK(registry.bytes_uploaded() == before + 4 * mib);
    }
    SECTION("a registry that has forgotten it: from the start") {
        CHECK_THROWS_AS(upload(registry, what, {size, 6 * mib, [] { throw stopped{}; }}, options), stopped);
        registry.forget_uploads();
        upload(registry, what, {size}, options);
    }
    SECTION("a source with other bytes: no") {
        auto wrong = what;
        wrong.digest = described(size - 1).digest;
        CHECK_THROWS_AS(upload(registry, wrong, {size}, options), digest_mismatch);
        CHECK(files_in(folder / "state/uploads") == 0);
        CHECK(registry.open_uploads() == 0);
        CHECK(registry.blob_count("app") == 0);
        upload(registry, what, {size}, options);
    }
    SECTION("a source that is too short: no") {
        CHECK_THROWS_AS(upload(registry, what, {size - 1}, options), digest_mismatch);
        CHECK(registry.open_uploads() == 0);
        upload(registry, what, {size}, options);
    }
    CHECK(missing(registry, what) == "");
    CHECK(registry.open_uploads() == 0);
    CHECK(files_in(folder / "state/uploads") == 0);
    CHECK(misdeeds(registry) == "");
}

TEST_CASE("what was sent before with other bytes is found out", "[registry][upload]") {
    constexpr std::uint64_t size = 6 * mib;
    auto const what = described(size);
    temp_dir folder;
    upload_journal const journal{folder / "state"};
    upload_options const options{.piece = mib, .in_pieces = true, .worth_a_record = mib, .journal = &journal};
    test_registry registry{{.keep_content = false}};
    struct spoiled_then_killed {
        made_source real;
        std::size_t read(bytes_span into) {
            if (real.at >= 3 * mib) ::raise(SIGKILL);
            auto const n = real.read(into);
            if (n != 0) into[0] ^= std::byte{1};
            return n;
        }
        void rewind() { real.rewind(); }
    };
    auto const status = samples::in_child([&] {
        auto over = open_way();
        auto to = repository_in(registry, over);
        upload_habits habits;
        spoiled_then_killed source{{size}};
        upload_blob(to, what, source, habits, options);
        return 0;
    });
    REQUIRE(WIFSIGNALED(status));
    REQUIRE(registry.wait_until_idle());
    upload(registry, what, {size}, options);
    CHECK(missing(registry, what) == "");
    CHECK(registry.count(request_kind::put_upload, 400) == 1);
    CHECK(misdeeds(registry) == "");
}
