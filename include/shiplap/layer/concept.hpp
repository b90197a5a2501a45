#pragma once
// layer: where the content of a layer comes from. A layer_source writes an uncompressed tar into any
// byte_sink.
//
//   concept          expression                   meaning
//   layer_source     l.write_tar(out, context)    the whole tar, end blocks included, in order; the same
//                                                 bytes for the same content. Throws, and the layer is
//                                                 never published, when the source changes meanwhile
//                    l.description() -> string    for messages and progress: "dir:app"
//
//   refinement       expression                   meaning
//   sized_layer      l.estimated_size() -> n      about how many bytes write_tar() will write, 0 where that
//                                                 is not known; costs no reading
//   stored_layer     l.stored() -> layer_blob     already packed: used as it is, not packed again
//                    l.reader() -> r              its bytes, a replayable_source
//   quick_layer      l.unverified_reader() -> r   the same for who verifies digest and size anyway
//
// Exemplar, compiled in tests/layer/concept.cpp:
//
//     struct empty_layer {
//         void write_tar(byte_sink auto& out, layer_context const&) const { tar_writer{out}.finish(); }
//         std::string description() const { return "empty"; }
//     };
//
// Models: directory_layer, diff_layer, tar_layer; existing_blob (a stored_layer); any_layer_source.

#include <shiplap/bytes/erased.hpp>
#include <shiplap/bytes/progress.hpp>
#include <shiplap/image/assemble.hpp>
#include <shiplap/tar/timestamps.hpp>

#include <string>

namespace shiplap {

/// How BuildKit marks a layer in which no time is later than this one, in seconds since 1970: who sees the mark
/// need not rewrite it again.
inline constexpr char rewritten_annotation[] = "buildkit/rewritten-timestamp";

/// What the surroundings lend to a layer source.
struct layer_context {
    timestamps_ref time;   ///< applied to the mtime of every entry
    progress_ref progress; ///< hears warnings, such as a skipped socket
};

template <class L>
concept describes_itself = requires(L const& layer) {
    { layer.description() } -> std::convertible_to<std::string>;
};

template <class L>
concept writes_tar = requires(L const& layer, null_sink& out, layer_context const& context) {
    layer.write_tar(out, context);
};

/// Already packed: see the table above.
template <class L>
concept stored_layer = describes_itself<L> && requires(L const& layer) {
    { layer.stored() } -> std::convertible_to<layer_blob>;
    { layer.reader() } -> replayable_source;
};

/// See the table above.
template <class L>
concept quick_layer = stored_layer<L> && requires(L const& layer) {
    { layer.unverified_reader() } -> replayable_source;
};

/// See the table above.
template <class L>
concept layer_source = describes_itself<L> &&(writes_tar<L> || stored_layer<L>);

template <class L>
concept sized_layer = layer_source<L> && requires(L const& layer) {
    { layer.estimated_size() } -> std::convertible_to<std::uint64_t>;
};

} // namespace shiplap
