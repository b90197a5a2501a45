#pragma once
// overlay_store: what a store has and, beyond that, blobs that lie elsewhere. Each of those is opened when
// somebody reads it, and not before: what the destination of a copy has already is never read.
//
//     overlay_store all{scratch};
//     all.add(facts.blob.digest, [layer] { return layer.unverified_reader(); });
//     copy(root, names, all, sink, env);

#include <shiplap/bytes/erased.hpp>
#include <shiplap/store/concept.hpp>

#include <functional>
#include <map>
#include <utility>

namespace shiplap {

/// A blob_reader_source on top of `S`, which must outlive it.
template <blob_reader_source S>
class overlay_store {
  public:
    explicit overlay_store(S const& store) : store_{store} {}

    /// `open` gives a new reader of the blob at each call; for `copy` it may be called on several threads.
    void add(digest const& which, std::function<any_replayable_source()> open) {
        elsewhere_.insert_or_assign(which, std::move(open));
    }

    [[nodiscard]] bool contains(digest const& which) const {
        return elsewhere_.contains(which) || store_.contains(which);
    }

    [[nodiscard]] bool owns(content_facts const& what) const { return is_owned(store_, what); }

    /// What the store has is read from there.
    [[nodiscard]] any_replayable_source reader(digest const& which) const {
        auto const found = elsewhere_.find(which);
        if (found == elsewhere_.end() || store_.contains(which)) return store_.reader(which);
        return found->second();
    }

  private:
    S const& store_;
    std::map<digest, std::function<any_replayable_source()>> elsewhere_;
};

} // namespace shiplap
