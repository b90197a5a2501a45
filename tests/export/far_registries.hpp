#pragma once
// A stand-in for registries: what is pushed ends up in memory.

#include <shiplap/export/env.hpp>
#include <shiplap/sink/memory.hpp>

#include <string>
#include <vector>

namespace shiplap_test {

using namespace shiplap;

/// What stands for all registries, and what was asked of them.
struct far_away {
    memory_sink there{};
    push_target asked{};
    unsigned connected = 0, committed = 0;
    std::string refused{};           ///< a repository that takes nothing
    std::vector<std::string> tags{}; ///< that were set, but for digests
};

/// A remote_sink.
struct far_sink {
    far_away* place;
    bool is_refused = false;
    [[nodiscard]] static unsigned transfers() noexcept { return 2; }
    void connect() const { ++place->connected; }
    /// As a registry: without what is to be fetched from elsewhere.
    [[nodiscard]] static std::vector<descriptor> arrange(image_graph const& graph) {
        std::vector<descriptor> contents;
        for (auto const& node : graph.contents)
            if (node.what.urls.empty()) contents.push_back(node.what);
        return contents;
    }
    [[nodiscard]] bool exists(descriptor const& what) const {
        return !is_refused && place->there.store().contains(what.digest);
    }
    void put(descriptor const& what, replayable_source_ref from) const {
        if (is_refused) throw error{error_code::unsupported, "push", place->refused, "refused"};
        place->there.put(what, from);
    }
    void tag(descriptor const& root, image_name const& name) const {
        if (name.full.find('@') == std::string::npos) place->tags.push_back(name.full);
        place->there.tag(root, name);
    }
    void commit() const {
        ++place->committed;
        place->there.commit();
    }
};

struct far_registries {
    far_away* place;
    [[nodiscard]] far_sink sink(push_target const& to) const {
        place->asked = to;
        bool refused = false;
        for (auto const* names : {&to.names, &to.untagged})
            for (auto const& name : *names) refused |= name.without_tag().text() == place->refused;
        return {place, refused};
    }
};

struct env_with_registries : default_env {
    far_registries registries;
};
static_assert(lends_registries<env_with_registries>);
static_assert(!lends_registries<default_env>);

} // namespace shiplap_test
