#pragma once
// oci_archive_sink: an image as one tar file in the OCI layout, what `type=oci` writes.
//
//     copy(root, names, store, oci_archive_sink{"app.tar"}, env);
//
// See archive.hpp for its content and for what is promised about the file. Readers: skopeo and podman
// (oci-archive:), containerd (ctr image import), docker load from version 25 on.

#include <shiplap/sink/archive.hpp>

namespace shiplap {

/// An arranging_sink.
class oci_archive_sink : public layout_archive {
  public:
    using layout_archive::layout_archive;

    /// Writes index.json with all names and publishes the file.
    void commit() { complete({}); }
};

} // namespace shiplap
