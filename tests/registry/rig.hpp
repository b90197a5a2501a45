#pragma once
// What the tests of pushes and pulls share: ways to a test_registry, images to push, and a look at what arrived.

#include <shiplap/registry/authenticated.hpp>
#include <shiplap/registry/curl_transport.hpp>
#include <shiplap/registry/retry.hpp>
#include <shiplap/registry/sink.hpp>
#include <shiplap/sink/copy.hpp>
#include <shiplap/store/graph.hpp>
#include <shiplap/store/memory.hpp>

#include "store/samples.hpp"
#include "support/test_registry.hpp"

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace rig {

using namespace shiplap;
using namespace std::chrono_literals;

/// Short pauses, and not many of them.
inline constexpr retry_policy brisk{.budget = 1500ms, .first_pause = 2ms, .longest_pause = 30ms};

inline curl_options network(std::vector<std::string> trusted = {}) {
    return {
        .connect_timeout = 2s, .stall_timeout = 400ms, .trusted = std::move(trusted), .user_agent = "test/1"};
}

using plain = retrying<curl_transport>;
using with_login = retrying<authenticated<curl_transport, fixed_credentials>>;

inline plain open_way(retry_policy const& policy = brisk, curl_options how = network()) {
    return plain{curl_transport{std::move(how)}, policy};
}
inline with_login login_way(test_registry const& to, retry_policy const& policy = brisk,
                            curl_options how = network()) {
    return with_login{authenticated{curl_transport{std::move(how)},
                                    fixed_credentials{url::parse("http://" + to.authority() + "/").from(),
                                                      {.user = "user", .password = secret{"secret"}}}},
                      policy};
}

/// "app:1" in that registry.
inline reference at(test_registry const& registry, std::string const& name) {
    return reference::parse(registry.authority() + "/" + name);
}

inline repository<plain> repository_in(test_registry const& registry, plain& over,
                                       std::string const& name = "app") {
    return {over, host_of(registry.authority(), false), name};
}

/// Letters that do not compress and are different for each seed.
inline std::string letters(std::size_t size, unsigned seed = 1) {
    std::minstd_rand random{seed + 1};
    std::string text(size, ' ');
    for (auto& c : text) c = static_cast<char>('a' + random() % 26);
    return text;
}

/// An image of layers of that many bytes each, none like those of another seed.
inline descriptor put_layers(memory_store& store, std::vector<std::size_t> const& sizes, unsigned seed = 0) {
    std::vector<std::string> texts;
    for (auto const size : sizes)
        texts.push_back(letters(size, 1000 * seed + static_cast<unsigned>(texts.size())));
    return samples::put_image(store, texts);
}

/// A store that counts what is read of its layers and configurations. Copies count together.
struct counting_store {
    memory_store const* blobs;
    std::shared_ptr<std::atomic<std::uint64_t>> bytes = std::make_shared<std::atomic<std::uint64_t>>(0);

    struct counting_reader {
        span_source from;
        std::atomic<std::uint64_t>* bytes;
        std::size_t read(bytes_span into) {
            auto const n = from.read(into);
            if (bytes != nullptr) *bytes += n;
            return n;
        }
        void rewind() { from.rewind(); }
    };

    [[nodiscard]] bool contains(digest const& which) const { return blobs->contains(which); }
    [[nodiscard]] counting_reader reader(digest const& which) const {
        auto const& text = blobs->blobs().at(which);
        bool const is_document = text.find("\"schemaVersion\"") != text.npos;
        return {blobs->reader(which), is_document ? nullptr : bytes.get()};
    }
};

struct quiet_env {
    no_progress progress{};
};

/// Pushes to these names of one registry.
template <transport T, blob_reader_source From>
void push(T over, descriptor const& root, From const& from, test_registry const& to,
          std::vector<std::string> const& names = {"app:1"}, registry_options options = {}) {
    std::vector<reference> full;
    for (auto const& name : names) full.push_back(at(to, name));
    registry_sink sink{std::move(over), full, std::move(options)};
    quiet_env env;
    copy(root, {}, from, sink, env);
}

/// What a repository lacks of an image, or has with other bytes: one line for each.
inline std::string lacking(test_registry const& registry, std::string const& repository,
                           descriptor const& root, memory_store const& store) {
    std::string out;
    for (auto const& node : read_graph(root, store).contents) {
        auto const which = node.what.digest.text();
        auto const there =
            is_document(node.what) ? registry.manifest(repository, which) : registry.blob(repository, which);
        if (there != store.blobs().at(node.what.digest)) out += "lacks " + which + "\n";
        if (is_document(node.what) && registry.media_type(repository, which) != node.what.media_type)
            out += "has another media type for " + which + "\n";
    }
    return out;
}

/// What a client did that no client may do, one line for each.
inline std::string misdeeds(test_registry const& registry) {
    std::string out;
    for (auto const& line : registry.violations()) out += line + "\n";
    return out;
}

/// Runs all cases, several at once, for most of them wait. Each returns what is wrong, or "".
inline std::string all_wrong(std::vector<std::function<std::string()>> const& cases) {
    std::mutex mutex;
    std::string out;
    std::atomic<std::size_t> next{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 8; ++i)
        threads.emplace_back([&] {
            for (auto n = next++; n < cases.size(); n = next++) {
                std::string wrong;
                try {
                    wrong = cases[n]();
                } catch (std::exception const& failure) {
                    wrong = std::string{"unexpected: "} + failure.what();
                }
                std::lock_guard const lock{mutex};
                if (!wrong.empty()) out += "case " + std::to_string(n) + ": " + wrong + "\n";
            }
        });
    for (auto& thread : threads) thread.join();
    return out;
}

} // namespace rig
