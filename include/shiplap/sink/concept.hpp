#pragma once
// sink: where a finished image goes. Delivery is one function, copy(), that drives any sink.
//
//   concept          expression                meaning
//   image_sink       s.exists(d) -> bool       the content of descriptor d is there already, verified
//                    s.put(d, source)          takes the content of d from a replayable_source_ref, which
//                                              throws digest_mismatch if the bytes are wrong
//                    s.tag(root, name)         the image `root` shall be known as `name`, an image_name; an
//                                              empty one: by its digest
//                    s.commit()                makes all of it visible at once; before, nothing is
//
//   refinement       expression                meaning
//   arranging_sink   s.arrange(graph) -> ds    the descriptors that it wants put, in its own order; it may
//                                              leave out, reorder and repeat. Throws if it cannot hold
//                                              such an image
//   storing_sink     s.store() -> blob_store   the sink is a store: layers are packed straight into it
//   remote_sink      s.transfers() -> n        exists() and put() of configurations and layers may be called on n
//                                              threads at once; they return when the other side has confirmed.
//                                              put() may throw content_missing
//                    s.connect()               before any work is done for it: throws if nothing will be taken
//
// Children come before parents, so a sink never holds a manifest whose blobs it lacks. A sink that is
// destroyed before commit() leaves no trace.
//
// Exemplar, compiled in tests/sink/concept.cpp:
//
//     struct counting_sink {
//         std::uint64_t bytes = 0;
//         bool exists(descriptor const&) const { return false; }
//         void put(descriptor const&, replayable_source_ref from) { bytes += transfer(from, drop); }
//         void tag(descriptor const&, image_name const&) {}
//         void commit() {}
//     };
//
// Models: layout_sink, oci_archive_sink, docker_archive_sink, filesystem_sink, memory_sink, registry_sink.

#include <shiplap/bytes/erased.hpp>
#include <shiplap/image/reference.hpp>
#include <shiplap/store/concept.hpp>
#include <shiplap/store/graph.hpp>

#include <string>
#include <utility>
#include <vector>

namespace shiplap {

template <class S>
concept finds_content = requires(S& sink, descriptor const& which) {
    { sink.exists(which) } -> std::same_as<bool>;
};

template <class S>
concept takes_content = requires(S& sink, descriptor const& which, replayable_source_ref from) {
    sink.put(which, from);
};

template <class S>
concept takes_names = requires(S& sink, descriptor const& root, image_name const& name) {
    sink.tag(root, name);
};

template <class S>
concept commits = requires(S& sink) {
    sink.commit();
};

/// See the table above.
template <class S>
concept image_sink = finds_content<S> && takes_content<S> && takes_names<S> && commits<S>;

template <class S>
concept arranging_sink = image_sink<S> && requires(S& sink, image_graph const& graph) {
    { sink.arrange(graph) } -> std::same_as<std::vector<descriptor>>;
};

template <class S>
using store_of = std::remove_reference_t<decltype(std::declval<S&>().store())>;

template <class S>
concept storing_sink = image_sink<S> && blob_store<store_of<S>>;

template <class S>
concept remote_sink = image_sink<S> && requires(S const& sink) {
    { sink.transfers() } -> std::convertible_to<unsigned>;
} && requires(S& sink) {
    sink.connect();
};

/// A sink was given a manifest and lacks what it needs, though that was there before: put these, then the manifest again.
class content_missing : public error {
  public:
    content_missing(std::string manifest, std::vector<descriptor> what)
        : error{error_code::not_found, "put manifest", std::move(manifest),
                std::to_string(what.size()) + " of its contents, " + what.front().digest.text() +
                    " among them, vanished from the destination"},
          what_{std::move(what)} {}

    [[nodiscard]] std::vector<descriptor> const& what_is_missing() const noexcept { return what_; }

  private:
    std::vector<descriptor> what_; // at least one
};

} // namespace shiplap
