// tar/: writing and reading of archives. There is no library below: the baselines move the same bytes, or look only at
// what every reader must.

#include "support.hpp"

#include <charconv>
#include <cstring>
#include <memory>
#include <numeric>

namespace shiplap::benchmarks {
namespace {

constexpr std::size_t header_count = 10'000;

tar_entry file_entry(std::size_t number, std::size_t size) {
    return {.name = "usr/share/some-package/source-file-" + std::to_string(number) + ".cpp",
            .mode = 0644,
            .uid = 1000,
            .gid = 1000,
            .size = size,
            .mtime = {1'700'000'000, 0}};
}

std::vector<tar_entry> file_entries(std::size_t size) {
    std::vector<tar_entry> entries;
    for (std::size_t i = 0; i < header_count; ++i) entries.push_back(file_entry(i, size));
    return entries;
}

/// Passes through an archive with nothing checked but the checksums; `use` gets each payload.
template <class Use>
void bare_scan(std::string_view tar, Use use) {
    constexpr std::size_t size_at = 124, size_digits = 11, checksum_at = 148, checksum_digits = 6;
    auto const octal = [&](std::size_t at, std::size_t digits) {
        std::size_t value = 0;
        std::from_chars(tar.data() + at, tar.data() + at + digits, value, 8);
        return value;
    };
    while (tar.size() >= tar_block_size && tar.front() != '\0') {
        auto const sum =
            std::accumulate(tar.begin(), tar.begin() + tar_block_size, std::size_t{8 * ' '},
                            [](auto total, char byte) { return total + static_cast<unsigned char>(byte); });
        auto const own =
            std::accumulate(tar.begin() + checksum_at, tar.begin() + checksum_at + 8, std::size_t{0},
                            [](auto total, char byte) { return total + static_cast<unsigned char>(byte); });
        if (sum - own != octal(checksum_at, checksum_digits)) give_up("scan the sample tar");
        auto const size = octal(size_at, size_digits);
        use(tar.substr(tar_block_size, size));
        tar.remove_prefix(tar_block_size + size + tar_padding(size));
    }
}

void compare_writing() {
    compare(
        "tar encode_header", {header_count * tar_block_size, header_count},
        [entries = file_entries(1024)] {
            for (auto const& entry : entries) benchmark::DoNotOptimize(encode_header(entry));
        },
        [block = encode_header(file_entry(0, 1024))] {
            for (std::size_t i = 0; i < header_count; ++i) benchmark::DoNotOptimize(std::string{block});
        });

    for (std::size_t const size : {1024U, 16384U}) {
        auto const count = sample_size / size;
        compare(
            "tar_writer, files of " + std::to_string(size / 1024) + " KiB", {sample_size, count},
            [size, count, entries = file_entries(size)] {
                counting_sink out;
                gather chunks;
                pipeline pipe{chunks, out};
                tar_writer tar{pipe};
                for (std::size_t i = 0; i < count; ++i) {
                    tar.entry(entries[i % header_count]);
                    tar.write(sample(sample_size).subspan(i * size, size));
                }
                tar.finish();
                pipe.finish();
            },
            [size, count, header = encode_header(file_entry(0, size)),
             to = std::string(size + tar_block_size, '\0')]() mutable {
                for (std::size_t i = 0; i < count; ++i) {
                    std::memcpy(to.data(), header.data(), tar_block_size);
                    std::memcpy(to.data() + tar_block_size, sample().data() + i * size, size);
                    benchmark::ClobberMemory();
                }
            });
    }
}

void compare_reading(std::string const& kind, generated_tree const& tree) {
    auto const tar = std::make_shared<std::string const>(tar_of(tree));
    amount const size{tar->size(), tree.files};
    compare(
        "tar_scanner, " + kind, size,
        [tar] {
            tar_scanner scanner{"sample"};
            in_pieces(as_bytes(*tar), transfer_size, [&](bytes_view part) {
                while (!part.empty()) benchmark::DoNotOptimize(scanner.next(part));
            });
            scanner.finish();
        },
        [tar] { bare_scan(*tar, [](std::string_view payload) { benchmark::DoNotOptimize(payload); }); });
    compare(
        "tar_reader, " + kind, size,
        [tar, space = std::vector<std::byte>(transfer_size)]() mutable {
            span_source source{*tar};
            tar_reader reader{source, "sample"};
            while (reader.next() != nullptr)
                while (reader.read(space) != 0) benchmark::ClobberMemory();
        },
        [tar, space = std::vector<char>(transfer_size)]() mutable {
            bare_scan(*tar, [&](std::string_view payload) {
                in_pieces(as_bytes(payload), transfer_size, [&](bytes_view part) {
                    std::memcpy(space.data(), part.data(), part.size());
                    benchmark::ClobberMemory();
                });
            });
        });
}

} // namespace

void compare_tars() {
    compare_writing();
    compare_reading("small files", tree_of(2000, 2048));
    compare_reading("large files", tree_of(8, 4U << 20U));
}

} // namespace shiplap::benchmarks
