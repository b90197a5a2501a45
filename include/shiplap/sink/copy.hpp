#pragma once
// copy: delivers an image from where it is to where it shall be. The one loop behind export, push, pull,
// convert and archive:
//
//     copy(root, names, store, layout_sink{"app-layout"}, env);
//
//   1. Follow the descriptors from `root` (read_graph): all manifests are verified, nothing is missing.
//   2. Put what the sink does not have: configurations and layers, then manifests, then indexes, the root
//   last;
//      or what an arranging_sink asks for, in its order. Every byte is verified on its way.
//   3. Tag the root with each name, and commit.
//
// Nothing is put if the source is the sink's own store: everything is where it belongs.

#include <shiplap/bytes/activity.hpp>
#include <shiplap/bytes/erased.hpp>
#include <shiplap/bytes/progress.hpp>
#include <shiplap/image/reference.hpp>
#include <shiplap/sink/concept.hpp>
#include <shiplap/store/concept.hpp>
#include <shiplap/store/graph.hpp>

#include <memory>
#include <span>
#include <utility>
#include <vector>

namespace shiplap {

namespace detail {

template <replayable_source R>
struct counted_source {
    R from;
    activity& told;
    std::size_t read(bytes_span into) {
        auto const n = from.read(into);
        told.advance(n);
        return n;
    }
    void rewind() { from.rewind(); }
};
template <class R>
counted_source(R, activity&) -> counted_source<R>;

/// Puts one content, unless it is there already. Knows nothing of other contents, so that several can be
/// under way at once.
template <blob_reader_source From, image_sink To>
void copy_content(descriptor const& what, From const& from, To& to, progress_ref progress) {
    activity told{progress, "copy", what.digest.text(), what.size};
    if (!to.exists(what)) {
        counted_source source{verified_source{from.reader(what.digest), what.digest, what.size}, told};
        to.put(what, source);
    }
    told.finish();
}

/// What to put, in order.
template <image_sink To>
std::vector<descriptor> contents_for(To& to, image_graph const& graph) {
    if constexpr (arranging_sink<To>) {
        return to.arrange(graph);
    } else {
        std::vector<descriptor> all;
        all.reserve(graph.contents.size());
        for (auto const& node : graph.contents) all.push_back(node.what);
        return all;
    }
}

template <class From, image_sink To>
bool is_store_of(From const& from, To& to) {
    if constexpr (storing_sink<To>) {
        if constexpr (std::same_as<From, std::remove_const_t<store_of<To>>>)
            return std::addressof(from) == std::addressof(to.store());
    }
    return false;
}

/// Names the image `root`, all of which the sink has, and makes it visible.
template <image_sink To>
void publish(descriptor const& root, std::span<image_name const> names, To& to) {
    if (names.empty()) to.tag(root, image_name{});
    for (auto const& name : names) to.tag(root, name);
    to.commit();
}

} // namespace detail

/// Delivers the image `root` with everything that belongs to it, under `names`; without any, the sink keeps
/// it by its digest. `env.progress` hears of every content: activity "copy", the digest as subject, bytes
/// moved; none are moved of what exists. When it throws, nothing has become visible in the sink.
template <blob_reader_source From, image_sink To, class Env>
void copy(descriptor const& root, std::span<image_name const> names, From const& from, To& to, Env& env) {
    auto const graph = read_graph(root, from);
    if (!detail::is_store_of(from, to))
        for (auto const& what : detail::contents_for(to, graph))
            detail::copy_content(what, from, to, progress_ref{env.progress});
    detail::publish(root, names, to);
}

} // namespace shiplap
