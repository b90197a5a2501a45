#pragma once
// What holds for every blob_store.

#include "store/samples.hpp"
#include "support/catch.hpp"

#include <thread>

namespace samples {

template <blob_store S>
void check_store(S store) {
    auto const hello = facts_of("hello");

    SECTION("a blob is visible after commit and not before") {
        {
            auto writer = store.open();
            writer.write(as_bytes("hel"));
            writer.write(as_bytes("lo"));
            CHECK_FALSE(store.contains(hello.digest));
            writer.commit(hello);
        }
        CHECK(store.contains(hello.digest));
        CHECK(read_all(store.reader(hello.digest)) == "hello");
    }

    SECTION("a writer that goes away leaves nothing") {
        {
            auto writer = store.open();
            writer.write(as_bytes("hello"));
            auto moved = std::move(writer);
            moved.write(as_bytes("!"));
        }
        CHECK_FALSE(store.contains(hello.digest));
    }

    SECTION("what is not there is not found") {
        try {
            (void)store.reader(hello.digest);
            FAIL("no error");
        } catch (error const& failure) {
            CHECK(failure.code() == error_code::not_found);
            CHECK(failure.subject() == hello.digest.text());
        }
    }

    SECTION("the same blob twice is one blob") {
        put(store, "hello");
        auto reader = store.reader(hello.digest);
        put(store, "hello");
        CHECK(read_all(std::move(reader)) == "hello");
        CHECK(read_all(store.reader(hello.digest)) == "hello");
    }

    SECTION("readers do not disturb each other and rewind") {
        put(store, "hello");
        auto first = store.reader(hello.digest);
        auto second = store.reader(hello.digest);
        std::array<std::byte, 3> three{};
        CHECK(read_fully(first, three) == 3);
        CHECK(read_all(std::move(second)) == "hello");
        string_sink rest;
        transfer(first, rest);
        CHECK(rest.text == "lo");
        first.rewind();
        CHECK(read_all(std::move(first)) == "hello");
    }

    SECTION("an empty blob, and one of another algorithm") {
        put(store, "");
        CHECK(read_all(store.reader(facts_of("").digest)).empty());
        auto const long_digest = digest::of<sha512>(as_bytes("hello"));
        auto writer = store.open();
        writer.write(as_bytes("hello"));
        writer.commit({long_digest, 5});
        CHECK(store.contains(long_digest));
        CHECK_FALSE(store.contains(hello.digest));
    }

    SECTION("writers outlive a move of the store") {
        auto writer = store.open();
        writer.write(as_bytes("hello"));
        auto moved = std::move(store);
        writer.commit(hello);
        CHECK(moved.contains(hello.digest));
    }

    SECTION("several threads at once") {
        std::vector<std::thread> threads;
        for (int t = 0; t < 4; ++t)
            threads.emplace_back([&store, t] {
                for (int i = 0; i < 20; ++i) put(store, std::to_string(i * (t % 2 + 1)));
            });
        for (auto& thread : threads) thread.join();
        for (int i = 0; i < 20; ++i)
            CHECK(read_all(store.reader(facts_of(std::to_string(2 * i)).digest)) == std::to_string(2 * i));
    }
}

} // namespace samples
