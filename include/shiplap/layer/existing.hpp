#pragma once
// existing_blob: a layer that is packed already, in a store or a file. It is used as it is: no byte is packed
// again, and what is read is verified against the digest and size that were promised.
//
//     existing_blob layer{facts, [&store, which = facts.blob.digest] { return store.reader(which); }};
//     auto layer = blob_in_store(store, facts);
//     auto layer = blob_in_file("layer.tar.gz", facts);

#include <shiplap/bytes/file.hpp>
#include <shiplap/codec/decode.hpp>
#include <shiplap/codec/estargz_payload.hpp>
#include <shiplap/layer/concept.hpp>
#include <shiplap/layer/tar.hpp>
#include <shiplap/store/concept.hpp>

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace shiplap {

/// A replayable_source of a packed layer that throws format_error before its first byte if the bytes are
/// packed otherwise than `encoding` says; one of a codec that is not known here passes.
template <replayable_source R>
class packed_layer_source {
  public:
    packed_layer_source(R from, std::string encoding, digest const& which)
        : from_{std::move(from)}, encoding_{std::move(encoding)}, name_{which.text()} {}

    std::size_t read(bytes_span into) {
        if (into.empty()) return 0;
        if (!checked_) check();
        if (next_ == filled_) return from_.read(into);
        auto const n = std::min(into.size(), filled_ - next_);
        std::copy_n(head_.begin() + static_cast<std::ptrdiff_t>(next_), n, into.begin());
        next_ += n;
        return n;
    }

    void rewind() {
        from_.rewind();
        next_ = filled_ = 0;
        checked_ = false;
    }

  private:
    void check() {
        filled_ = read_fully(from_, head_);
        checked_ = true;
        bool const is_known = encoding_.empty() || encoding_ == "gzip" || encoding_ == "zstd";
        auto const found = sniff_encoding(bytes_view{head_}.first(filled_));
        if (!is_known || found == encoding_) return;
        auto const in_words = [](std::string_view encoding) {
            return encoding.empty() ? std::string{"a plain tar"} : "packed with " + std::string{encoding};
        };
        throw format_error{"read layer", name_,
                           "should be " + in_words(encoding_) + " by its media type, is " + in_words(found)};
    }

    R from_;
    std::string encoding_, name_;
    std::array<std::byte, 4> head_{};
    std::size_t next_ = 0, filled_ = 0; // of head_: handed out, and there at all
    bool checked_ = false;
};

namespace detail {

struct updating_sink {
    digest_hasher& hasher;
    void write(bytes_view in) const { hasher.update(in); }
};

/// A source whose bytes somebody else sees, too.
struct observed_source {
    any_byte_source from;
    byte_sink_ref seen;
    std::size_t read(bytes_span into) {
        auto const n = from.read(into);
        seen.write(into.first(n));
        return n;
    }
};

/// The archive in the layer `packed`. `seen` gets all that it unpacks to.
inline any_byte_source archive_in(layer_blob const& facts, any_byte_source packed, std::string name,
                                  byte_sink_ref seen) {
    if (facts.encoding == "gzip")
        return estargz_payload{std::move(packed), std::move(name),
                               facts.annotations.contains(toc_digest_annotation), seen};
    return observed_source{decode_as(facts.encoding, std::move(packed)), seen};
}

} // namespace detail

template <class F>
concept opens_reader = std::invocable<F const&> && replayable_source<std::invoke_result_t<F const&>>;

/// A stored_layer. `open()` gives a new reader of the packed bytes at each call.
template <opens_reader Open>
struct existing_blob {
    layer_blob facts;
    Open open;

    [[nodiscard]] layer_blob const& stored() const noexcept { return facts; }

    /// The packed bytes; throws format_error at their start if they are packed in another way than `facts`
    /// say, digest_mismatch at their end, or before, if they are not the promised ones.
    [[nodiscard]] auto reader() const {
        return packed_layer_source{verified_source{open(), facts.blob.digest, facts.blob.size},
                                   facts.encoding, facts.blob.digest};
    }

    /// The same for who verifies the bytes anyway, as copy() does.
    [[nodiscard]] auto unverified_reader() const {
        return packed_layer_source{open(), facts.encoding, facts.blob.digest};
    }

    /// The tar in it, for a layer that is to be packed anew: in another encoding, with other times. Of an
    /// eStargz blob that is the one it was made of. Throws as tar_layer does; format_error for a table of
    /// contents that is not where it should be; at its end digest_mismatch if the blob does not unpack to
    /// what `facts.diff_id` promises.
    template <byte_sink Out>
    void write_tar(Out& out, layer_context const& context) const {
        digest_hasher everything{facts.diff_id};
        detail::updating_sink seen{everything};
        auto archive = detail::archive_in(facts, any_byte_source{reader()}, description(), seen);
        detail::pass_archive(archive, description(), out, context);
        if (auto const found = everything.finish(); found != facts.diff_id)
            throw digest_mismatch{"unpack layer", facts.blob.digest.text(),
                                  "unpacked it has digest " + found.text() +
                                      ", the configuration of its image says " + facts.diff_id.text()};
    }

    [[nodiscard]] std::uint64_t estimated_size() const noexcept { return facts.blob.size; }
    [[nodiscard]] std::string description() const { return "blob:" + facts.blob.digest.text(); }
};
template <class Open>
existing_blob(layer_blob, Open) -> existing_blob<Open>;

/// A layer that lies in a store, which must outlive it.
template <blob_reader_source S>
auto blob_in_store(S const& store, layer_blob facts) {
    auto which = facts.blob.digest;
    return existing_blob{std::move(facts),
                         [&store, which = std::move(which)] { return store.reader(which); }};
}

/// A layer that lies in a store, which is kept as long as the layer is.
template <blob_reader_source S>
auto blob_in_store(std::shared_ptr<S const> store, layer_blob facts) {
    auto which = facts.blob.digest;
    return existing_blob{std::move(facts), [store = std::move(store), which = std::move(which)] {
                             return store->reader(which);
                         }};
}

/// A layer that lies in a file.
inline auto blob_in_file(std::string path, layer_blob facts) {
    return existing_blob{std::move(facts), [path = std::move(path)] { return file_reader{path}; }};
}

} // namespace shiplap
