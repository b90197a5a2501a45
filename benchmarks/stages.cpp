// Each stage alone, beside the bare library call that it is built on. The ratio of two rows of one run is
// what counts: stage/raw says what the stage costs on top.

#include <shiplap/shiplap.hpp>

#include <benchmark/benchmark.h>
#include <cryptopp/sha.h>
#include <zlib.h>
#include <zstd.h>

#include <cstring>
#include <random>
#include <string>
#include <vector>

namespace {

using namespace shiplap;

// Half text-like, half noise: compresses about as well as a root file system does.
std::string const& sample() {
    static std::string const text = [] {
        std::mt19937 random{1};
        std::string out;
        while (out.size() < (32U << 20U)) {
            for (int word = 0; word < 40; ++word) out += "the " + std::to_string(random() % 1000) + " words ";
            for (int byte = 0; byte < 300; ++byte) out += static_cast<char>(random());
        }
        out.resize(32U << 20U);
        return out;
    }();
    return text;
}

void count_bytes(benchmark::State& state) {
    state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations()) *
                            static_cast<std::int64_t>(sample().size()));
}

template <class Stage>
void push_through(Stage& stage, std::size_t piece) {
    null_sink out;
    for (std::size_t at = 0; at < sample().size(); at += piece)
        stage.write(as_bytes(std::string_view{sample()}.substr(at, piece)), out);
    stage.finish(out);
}

void raw_memcpy(benchmark::State& state) {
    std::vector<char> to(sample().size());
    for ([[maybe_unused]] auto _ : state) {
        std::memcpy(to.data(), sample().data(), to.size());
        benchmark::ClobberMemory();
    }
    count_bytes(state);
}
BENCHMARK(raw_memcpy);

void stage_gather(benchmark::State& state) {
    for ([[maybe_unused]] auto _ : state) {
        gather stage;
        push_through(stage, static_cast<std::size_t>(state.range(0)));
    }
    count_bytes(state);
}
BENCHMARK(stage_gather)->Arg(512)->Arg(4096)->Arg(262144);

template <class Engine>
void raw_sha(benchmark::State& state) {
    for ([[maybe_unused]] auto _ : state) {
        Engine engine;
        engine.Update(reinterpret_cast<CryptoPP::byte const*>(sample().data()), sample().size());
        CryptoPP::byte out[Engine::DIGESTSIZE];
        engine.Final(out);
        benchmark::DoNotOptimize(out);
    }
    count_bytes(state);
}
BENCHMARK_TEMPLATE(raw_sha, CryptoPP::SHA256);
BENCHMARK_TEMPLATE(raw_sha, CryptoPP::SHA512);

template <class D>
void stage_tap(benchmark::State& state) {
    for ([[maybe_unused]] auto _ : state) {
        tap<D> stage;
        push_through(stage, transfer_size);
        benchmark::DoNotOptimize(stage.facts().size);
    }
    count_bytes(state);
}
BENCHMARK_TEMPLATE(stage_tap, sha256);
BENCHMARK_TEMPLATE(stage_tap, sha512);

void raw_zlib(benchmark::State& state) {
    std::vector<Bytef> to(compressBound(sample().size()) + 64);
    for ([[maybe_unused]] auto _ : state) {
        z_stream stream{};
        deflateInit2(&stream, static_cast<int>(state.range(0)), Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY);
        stream.next_in = const_cast<Bytef*>(reinterpret_cast<Bytef const*>(sample().data()));
        stream.avail_in = static_cast<uInt>(sample().size());
        stream.next_out = to.data();
        stream.avail_out = static_cast<uInt>(to.size());
        deflate(&stream, Z_FINISH);
        state.counters["packed"] =
            static_cast<double>(stream.total_out) / static_cast<double>(sample().size());
        deflateEnd(&stream);
    }
    count_bytes(state);
}
BENCHMARK(raw_zlib)->Arg(1)->Arg(6)->Arg(9)->Unit(benchmark::kMillisecond)->UseRealTime();

void raw_zstd(benchmark::State& state) {
    std::vector<char> to(ZSTD_compressBound(sample().size()));
    for ([[maybe_unused]] auto _ : state) {
        auto const size = ZSTD_compress(to.data(), to.size(), sample().data(), sample().size(),
                                        static_cast<int>(state.range(0)));
        state.counters["packed"] = static_cast<double>(size) / static_cast<double>(sample().size());
    }
    count_bytes(state);
}
BENCHMARK(raw_zstd)->Arg(3)->Arg(9)->Unit(benchmark::kMillisecond)->UseRealTime();

struct counting_sink {
    std::uint64_t bytes = 0;
    void write(bytes_view in) { bytes += in.size(); }
};

// Arguments: level, threads (1: in the caller).
template <class Codec>
void stage_encoder(benchmark::State& state) {
    shared_pool pool{static_cast<unsigned>(state.range(1))};
    Codec const codec{.level = static_cast<int>(state.range(0))};
    for ([[maybe_unused]] auto _ : state) {
        counting_sink out;
        auto encoder = codec.encoder(executor_ref{pool});
        for (std::size_t at = 0; at < sample().size(); at += transfer_size)
            encoder.write(as_bytes(std::string_view{sample()}.substr(at, transfer_size)), out);
        encoder.finish(out);
        state.counters["packed"] = static_cast<double>(out.bytes) / static_cast<double>(sample().size());
    }
    count_bytes(state);
}
BENCHMARK_TEMPLATE(stage_encoder, gzip)
    ->ArgsProduct({{1, 6, 9}, {1, 2}})
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();
BENCHMARK_TEMPLATE(stage_encoder, zstd)
    ->ArgsProduct({{3, 9}, {1, 2}})
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();

void stage_tar_writer(benchmark::State& state) {
    auto const size = static_cast<std::size_t>(state.range(0));
    tar_entry entry;
    entry.size = size;
    std::string const payload = sample().substr(0, size);
    for ([[maybe_unused]] auto _ : state) {
        counting_sink out;
        tar_writer writer{out};
        for (std::size_t written = 0; written < sample().size(); written += size) {
            entry.name = "some/directory/file" + std::to_string(written);
            writer.entry(entry);
            writer.write(as_bytes(payload));
        }
        writer.finish();
        benchmark::DoNotOptimize(out.bytes);
    }
    count_bytes(state);
}
BENCHMARK(stage_tar_writer)->Arg(1024)->Arg(16384)->Arg(1 << 20);

} // namespace

BENCHMARK_MAIN();
