// layer/pack.hpp: all stages in a row, beside the same parts one after another, without a pipeline.

#include "support.hpp"

#include <cryptopp/sha.h>

#include <cstdlib>

#include <fcntl.h>
#include <unistd.h>

namespace shiplap::benchmarks {
namespace {

void bare_hash(bytes_view in) {
    CryptoPP::SHA256 engine;
    engine.Update(reinterpret_cast<CryptoPP::byte const*>(in.data()), in.size());
    CryptoPP::byte raw[CryptoPP::SHA256::DIGESTSIZE];
    engine.Final(raw);
    benchmark::DoNotOptimize(raw);
}

int bare_scratch_file() {
    int const file = ::open(scratch_folder().c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (file < 0) give_up("make a file in " + scratch_folder());
    return file;
}

void bare_write(int file, bytes_view in) {
    if (::write(file, in.data(), in.size()) != static_cast<::ssize_t>(in.size()))
        give_up("write to " + scratch_folder());
}

/// Reads a file in pieces of `transfer_size`; use(piece).
template <class Use>
void bare_read(std::string const& path, Use use) {
    int const file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) give_up("open " + path);
    std::vector<std::byte> space(transfer_size);
    while (auto const n = ::read(file, space.data(), space.size())) {
        if (n < 0) give_up("read " + path);
        use(bytes_view{space}.first(static_cast<std::size_t>(n)));
    }
    ::close(file);
}

struct one_worker_env : default_env {
    explicit one_worker_env(unsigned workers = 1) { executor = shared_pool{workers}; }
};

template <class Codec, class Store>
void pack_tree(std::string const& path, Codec const& codec, Store store, unsigned workers) {
    one_worker_env env{workers};
    benchmark::DoNotOptimize(pack<sha256>(directory_layer{path}, codec, store, env).blob.size);
}

/// What a layer of one large file costs at least: read, hash, keep.
template <class Keep>
void bare_pack(std::string const& path, Keep keep) {
    CryptoPP::SHA256 engine;
    bare_read(path, [&](bytes_view part) {
        engine.Update(reinterpret_cast<CryptoPP::byte const*>(part.data()), part.size());
        keep(part);
    });
    CryptoPP::byte raw[CryptoPP::SHA256::DIGESTSIZE];
    engine.Final(raw);
    benchmark::DoNotOptimize(raw);
}

void compare_pack_of_large_file() {
    auto const& tree = tree_of(1, 64U << 20U);
    auto const file = tree.path + "/directory-0/source-file-0.cpp";
    for (unsigned const workers : {1U, 2U}) {
        auto const with =
            std::string{", "} + std::to_string(workers) + (workers == 1 ? " worker" : " workers");
        compare(
            "pack 64 MiB into memory" + with, {tree.bytes},
            [path = tree.path, workers] { pack_tree(path, uncompressed{}, memory_store{}, workers); },
            [file] {
                std::string kept;
                bare_pack(file, [&](bytes_view part) { kept.append(as_text(part)); });
            });
        compare(
            "pack 64 MiB into a scratch file" + with, {tree.bytes},
            [path = tree.path, workers] {
                pack_tree(path, uncompressed{}, scratch_store{scratch_folder()}, workers);
            },
            [file] {
                unique_fd const kept{bare_scratch_file()};
                bare_pack(file, [&](bytes_view part) { bare_write(kept.get(), part); });
            });
    }
}

/// The pipeline of a packed layer, beside its parts run one after another over the whole.
template <codec Codec>
void compare_pipeline(Codec const& codec) {
    compare(
        "pipeline of " + std::string{Codec::name}, {sample_size},
        [codec] {
            scratch_store store{scratch_folder()};
            auto blob = store.open();
            tap<sha256> plain, packed;
            gather chunks, blocks;
            auto encoder = codec.encoder({});
            pipeline pipe{chunks, plain, encoder, blocks, packed, blob};
            in_pieces(sample(sample_size), transfer_size, [&](bytes_view part) { pipe.write(part); });
            pipe.finish();
            blob.commit(packed.facts());
        },
        [codec] {
            bare_hash(sample(sample_size));
            string_sink packed;
            auto encoder = codec.encoder({});
            push_through(encoder, sample(sample_size), packed);
            bare_hash(as_bytes(packed.text));
            unique_fd const kept{bare_scratch_file()};
            bare_write(kept.get(), as_bytes(packed.text));
        });
}

} // namespace

void compare_packing() {
    compare_pack_of_large_file();
    compare_pipeline(uncompressed{});
    compare_pipeline(gzip{.level = 1});
    compare_pipeline(zstd{.level = 3});
}

} // namespace shiplap::benchmarks
