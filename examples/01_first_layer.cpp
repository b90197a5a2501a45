// A layer has two digests. The diff_id names the tar that was packed; the blob's digest names the packed
// bytes. The first stays whatever the codec, the second changes with it.

#include <shiplap/shiplap.hpp>

#include "demo_tree.hpp"

#include <iostream>

using namespace shiplap;

int main() {
    directory_layer const source{.path = demo_tree("app"), .owners = root_owned};
    memory_store store;
    default_env env;

    auto const plain = pack<sha256>(source, uncompressed{}, store, env);
    auto const packed = pack<sha256>(source, gzip{}, store, env);

    std::cout << "diff_id          " << plain.diff_id.text() << '\n'
              << "uncompressed     " << plain.blob.digest.text() << "  " << plain.blob.size << " bytes\n"
              << "gzip             another digest: "
              << (packed.blob.digest != plain.blob.digest ? "yes" : "no")
              << ", smaller: " << (packed.blob.size < plain.blob.size ? "yes" : "no") << '\n'
              << "same diff_id     " << (packed.diff_id == plain.diff_id ? "yes" : "no") << '\n'
              << "blobs in store   " << store.blobs().size() << '\n';
}
