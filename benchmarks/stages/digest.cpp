// digest/: hashers, taps and the verifier, beside bare Crypto++.

#include "support.hpp"

#include <cryptopp/sha.h>

namespace shiplap::benchmarks {
namespace {

template <class Engine>
void bare_hash() {
    Engine engine;
    in_pieces(sample(sample_size), transfer_size, [&](bytes_view part) {
        engine.Update(reinterpret_cast<CryptoPP::byte const*>(part.data()), part.size());
    });
    CryptoPP::byte raw[Engine::DIGESTSIZE];
    engine.Final(raw);
    benchmark::DoNotOptimize(raw);
}

template <class Tap>
void through_tap(auto... executor) {
    counting_sink out;
    Tap stage{executor...};
    push_through(stage, sample(sample_size), out);
    benchmark::DoNotOptimize(stage.facts().size);
}

template <class D, class Engine>
void compare_digest() {
    std::string const name{D::name};
    compare(
        name, {sample_size},
        [] {
            typename D::hasher hasher;
            in_pieces(sample(sample_size), transfer_size, [&](bytes_view part) { hasher.update(part); });
            benchmark::DoNotOptimize(hasher.finish());
        },
        bare_hash<Engine>);
    compare(
        name + " tap", {sample_size}, [] { through_tap<tap<D>>(); }, bare_hash<Engine>);
    compare(
        name + " gathering tap on an executor", {sample_size},
        [] {
            static shared_pool pool{2};
            through_tap<gathering_tap<D>>(executor_ref{pool});
        },
        bare_hash<Engine>);
    compare(
        name + " verify", {sample_size},
        [expected = digest::of<D>(sample(sample_size))] {
            digest_verifier check{expected, sample_size};
            in_pieces(sample(sample_size), transfer_size, [&](bytes_view part) { check.write(part); });
            check.finish();
        },
        bare_hash<Engine>);
}

} // namespace

void compare_digests() {
    compare_digest<sha256, CryptoPP::SHA256>();
    compare_digest<sha512, CryptoPP::SHA512>();
}

} // namespace shiplap::benchmarks
