#pragma once
// What the stage benchmarks share: input that is the same in every run, a sink that costs nothing, and compare(),
// which registers a stage together with what it is measured by.

#include <shiplap/shiplap.hpp>

#include <benchmark/benchmark.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace shiplap::benchmarks {

// One function for each file here.
void compare_bytes();
void compare_digests();
void compare_tars();
void compare_codecs();
void compare_trees();
void compare_packing();

/// What one run handles; the rates are derived from it.
struct amount {
    std::uint64_t bytes = 0, items = 0;
};

/// Registers `stage/NAME` and `baseline/NAME`: two functions that do the same, the second one by the bare calls of the
/// system or of the library below. Time is that of the clock, processor time that of all threads.
inline void compare(std::string const& name, amount size, std::function<void()> const& stage,
                    std::function<void()> const& baseline) {
    auto const add = [&](std::string const& kind, std::function<void()> const& run) {
        auto const body = [run, size](benchmark::State& state) {
            for ([[maybe_unused]] auto _ : state) run();
            auto const runs = static_cast<std::int64_t>(state.iterations());
            if (size.bytes != 0) state.SetBytesProcessed(runs * static_cast<std::int64_t>(size.bytes));
            if (size.items != 0) state.SetItemsProcessed(runs * static_cast<std::int64_t>(size.items));
        };
        benchmark::RegisterBenchmark((kind + "/" + name).c_str(), body)
            ->Unit(benchmark::kMillisecond)
            ->MeasureProcessCPUTime()
            ->UseRealTime();
    };
    add("stage", stage);
    add("baseline", baseline);
}

inline constexpr std::size_t sample_size = std::size_t{16} << 20;

/// Half text-like, half noise: compresses about as well as a root file system does.
std::string const& sample();

/// The first so many bytes of it.
inline bytes_view sample(std::size_t size) {
    return as_bytes(sample()).first(size);
}

/// Calls `use` with all of `in`, in pieces.
template <class Use>
void in_pieces(bytes_view in, std::size_t piece, Use use) {
    for (; !in.empty(); in = in.subspan(std::min(in.size(), piece)))
        use(in.first(std::min(in.size(), piece)));
}

/// Takes everything in, and nothing can be optimised away that made it.
struct counting_sink {
    std::uint64_t bytes = 0;
    void write(bytes_view in) {
        bytes += in.size();
        benchmark::DoNotOptimize(in.data());
    }
};

/// Pushes `in` through a stage as a source would, and finishes it.
template <class Stage, class Out>
void push_through(Stage& stage, bytes_view in, Out& out, std::size_t piece = transfer_size) {
    in_pieces(in, piece, [&](bytes_view part) { stage.write(part, out); });
    stage.finish(out);
}

/// Runs job(0) to job(count - 1) on so many threads: the least that a parallel stage has to do. Each thread has a `make()`
/// of its own, which job gets as its second argument.
template <class Make, class Job>
void spread(std::size_t count, unsigned threads, Make make, Job job) {
    std::atomic<std::size_t> next{0};
    auto const work = [&] {
        auto tool = make();
        for (auto i = next++; i < count; i = next++) job(i, tool);
    };
    std::vector<std::thread> helpers;
    for (unsigned i = 1; i < threads; ++i) helpers.emplace_back(work);
    work();
    for (auto& helper : helpers) helper.join();
}

/// Ends the program with a reason: a benchmark whose baseline failed would measure nothing.
[[noreturn]] void give_up(std::string const& what);

/// A folder that is gone when the program ends.
std::string const& scratch_folder();

/// A folder below it: `files` files of 0 to 2 * `mean_size` bytes each, in directories of 50. Made once.
struct generated_tree {
    std::string path;
    std::uint64_t files = 0, bytes = 0;
};
generated_tree const& tree_of(std::size_t files, std::size_t mean_size);

/// The tar of such a tree.
std::string tar_of(generated_tree const& tree);

} // namespace shiplap::benchmarks
