#pragma once
// store: where blobs are kept under their digest. What is not whole and verified is not there.
//
//   concept              expression               meaning
//   blob_writer          w.write(in)              a byte_sink
//                        w.commit(facts)          makes the blob visible under facts.digest; without it, it
//                                                 never was
//   blob_reader_source   s.contains(digest)       true if the blob can be read
//                        s.reader(digest) -> r    a replayable_source; throws error{not_found}
//   remote_source        S::is_remote             a blob_reader_source of which each reading is a download
//   owning_source        s.owns(facts) -> bool    a blob_reader_source that knows which blobs it hashed itself and
//                                                 nobody could change since: these need not be verified
//   blob_store           s.open() -> w            a blob_reader_source that also takes new blobs
//
// Readers hand out bytes as they are stored: who reads from a place that others may write verifies
// (verified_source). A store may be used on several threads at once, each with writers and readers of its
// own.
//
// Exemplar, compiled in tests/store/concept.cpp: see memory_store, which is one.
//
// Models: memory_store, scratch_store, layout_store.

#include <shiplap/bytes/erased.hpp>
#include <shiplap/digest/tap.hpp>

#include <concepts>
#include <cstdint>
#include <utility>

namespace shiplap {

template <class W>
concept blob_writer = byte_sink<W> && std::movable<W> && requires(W& writer, content_facts const& facts) {
    writer.commit(facts);
};

template <class S>
using blob_reader_of = decltype(std::declval<S const&>().reader(std::declval<digest const&>()));

template <class S>
using blob_writer_of = decltype(std::declval<S&>().open());

template <class S>
concept blob_lookup = requires(S const& store, digest const& which) {
    { store.contains(which) } -> std::same_as<bool>;
};

template <class S>
concept blob_reader_source = blob_lookup<S> && replayable_source<blob_reader_of<S>>;

/// Reading costs a download.
template <class S>
concept remote_source = blob_reader_source<S> && requires {
    requires S::is_remote;
};

/// Some blobs can be trusted.
template <class S>
concept owning_source = blob_reader_source<S> && requires(S const& store, content_facts const& what) {
    { store.owns(what) } -> std::same_as<bool>;
};

/// Whether reading `what` from `store` gives these very bytes for certain.
template <blob_reader_source S>
bool is_owned(S const& store, content_facts const& what) {
    if constexpr (owning_source<S>)
        return store.owns(what);
    else
        return false;
}

/// See the table above.
template <class S>
concept blob_store = blob_reader_source<S> && blob_writer<blob_writer_of<S>>;

/// Copies `from` to its end into `store` and makes it visible as `what`. `from` must be verified: if it
/// throws at its end, the store is as it was.
template <blob_store S, byte_source From>
void store_blob(S& store, content_facts const& what, From& from) {
    auto writer = store.open();
    transfer(from, writer);
    writer.commit(what);
}

/// A replayable_source that hands out its last byte only when all of them were the promised ones, and throws
/// digest_mismatch otherwise. So who got as many bytes as the descriptor says got the right ones; what read()
/// handed out before that must not be published.
template <replayable_source R>
class verified_source {
  public:
    verified_source(R from, digest expected, std::uint64_t size)
        : from_{std::move(from)},
          expected_{std::move(expected)},
          size_{size},
          left_{size},
          check_{expected_, size_} {}

    std::size_t read(bytes_span into) {
        if (into.empty()) return 0;
        auto const n = from_.read(into);
        if (n != 0) check_.write(into.first(n)); // throws if there are more bytes than promised
        left_ -= n;
        if (!verified_ && (n == 0 || left_ == 0)) {
            check_.finish();
            verified_ = true;
        }
        return n;
    }

    void rewind() {
        from_.rewind();
        check_ = digest_verifier{expected_, size_};
        left_ = size_;
        verified_ = false;
    }

  private:
    R from_;
    digest expected_;
    std::uint64_t size_, left_;
    digest_verifier check_;
    bool verified_ = false;
};

} // namespace shiplap
