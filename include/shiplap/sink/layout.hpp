#pragma once
// layout_sink: an image in an OCI layout directory (image-spec, image-layout.md), beside those that are
// there.
//
//     copy(root, names, store, layout_sink{"app-layout"}, env);
//
// A storing_sink: layers are packed straight into the layout's store, and no byte is copied twice. What is
// there already, with the right size and digest, is not written again; a damaged blob is replaced. Nothing is
// visible before commit(): see layout_store::publish().
//
// Readers: skopeo and podman (oci:DIR:REF), umoci, crane, containerd, and shiplap itself (layout_store).

#include <shiplap/image/reference.hpp>
#include <shiplap/sink/concept.hpp>
#include <shiplap/store/layout.hpp>

#include <string>
#include <utility>
#include <vector>

namespace shiplap {

class layout_sink {
  public:
    /// Into the layout in directory `path`, which is made if it does not exist. Errors as of layout_store.
    explicit layout_sink(std::string path) : store_{std::move(path)} {}

    [[nodiscard]] layout_store& store() noexcept { return store_; }

    /// Reads a blob that is there, once, to verify it.
    [[nodiscard]] bool exists(descriptor const& what) { return store_.holds({what.digest, what.size}); }

    void put(descriptor const& what, replayable_source_ref from) {
        store_blob(store_, {what.digest, what.size}, from);
    }

    /// An entry of index.json for this name, in place of one of the same name; without a name, one that can
    /// be found by its digest.
    void tag(descriptor const& root, image_name const& name) { entries_.push_back(named_entry(root, name)); }

    void commit() { store_.publish(std::exchange(entries_, {})); }

  private:
    layout_store store_;
    std::vector<descriptor> entries_;
};

} // namespace shiplap
