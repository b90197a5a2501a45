// bytes/: gathering small writes, the seam between policies, files that appear in one step.

#include "support.hpp"

#include <cstring>

#include <fcntl.h>
#include <unistd.h>

namespace shiplap::benchmarks {
namespace {

void write_and_rename(std::string const& folder, bytes_view in) {
    auto const hidden = folder + "/.hidden", shown = folder + "/published";
    int const file = ::open(hidden.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    in_pieces(in, transfer_size, [&](bytes_view part) {
        if (::write(file, part.data(), part.size()) < 0) give_up("write " + hidden);
    });
    if (::fsync(file) != 0 || ::close(file) != 0 || std::rename(hidden.c_str(), shown.c_str()) != 0)
        give_up("publish " + shown);
}

} // namespace

void compare_bytes() {
    for (std::size_t const piece : {512U, 4096U, 65536U})
        compare(
            "gather of " + std::to_string(piece), {sample_size, sample_size / piece},
            [piece] {
                counting_sink out;
                gather stage;
                push_through(stage, sample(sample_size), out, piece);
            },
            [piece, buffer = std::vector<std::byte>(transfer_size)]() mutable {
                std::size_t used = 0;
                in_pieces(sample(sample_size), piece, [&](bytes_view part) {
                    std::memcpy(buffer.data() + used, part.data(), part.size());
                    used = (used + part.size()) % transfer_size;
                    benchmark::ClobberMemory();
                });
            });

    compare(
        "seam: erased sink, 4 KiB", {sample_size, sample_size / 4096},
        [] {
            counting_sink out;
            byte_sink_ref seam{out};
            benchmark::DoNotOptimize(seam); // else the call is seen through
            in_pieces(sample(sample_size), 4096, [&](bytes_view part) { seam.write(part); });
        },
        [] {
            counting_sink out;
            in_pieces(sample(sample_size), 4096, [&](bytes_view part) { out.write(part); });
        });

    for (std::size_t const size : {std::size_t{4096}, sample_size})
        compare(
            "staged_file of " + std::to_string(size / 1024) + " KiB", {size, 1},
            [size] {
                staged_file file{scratch_folder()};
                in_pieces(sample(size), transfer_size, [&](bytes_view part) { file.write(part); });
                file.publish(scratch_folder() + "/published", 0644);
            },
            [size] { write_and_rename(scratch_folder(), sample(size)); });
}

} // namespace shiplap::benchmarks
