// What the parts of an export cost when each runs alone on one thread, in memory, by the bare calls of the libraries:
//
//   limits read TREE                               walk a tree and read its files
//   limits write FILE TO                           write what is in a file to another
//   limits pack BACKEND LEVEL blocks|payloads TAR  hash, compress and hash again, by blocks
//
// BACKEND is libdeflate, isal or zstd; for libdeflate level -1 is shiplap's choice for each block. The blocks are those of shiplap: 1 MiB for deflate, 8 MiB for zstd; of an
// eStargz what lies between the starts of two payloads, and 4 MiB at most, each of which is hashed for itself as well: its
// table of contents wants that digest. Prints CPU seconds and bytes as JSON.

#include <shiplap/codec/libdeflate_backend.hpp>

#include <cryptopp/sha.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <filesystem>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <fcntl.h>
#include <isa-l/igzip_lib.h>
#include <libdeflate.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace {

using bytes = std::span<std::uint8_t const>;
constexpr std::size_t mebibyte = 1 << 20;

double cpu_seconds() {
    timespec now{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

void require(bool fine, std::string const& what) {
    if (!fine) throw std::runtime_error{what};
}

/// Adds to a sum what the call costs.
template <class Work>
auto timed(double& sum, Work work) {
    auto const began = cpu_seconds();
    auto result = work();
    sum += cpu_seconds() - began;
    return result;
}

int number(std::string_view text) {
    int value = 0;
    auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    require(error == std::errc{} && end == text.data() + text.size(), std::string{text} + " is no number");
    return value;
}

bytes mapped(std::string const& path) {
    int const file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    struct stat facts {};
    require(file >= 0 && fstat(file, &facts) == 0, path + ": cannot be opened");
    auto const size = static_cast<std::size_t>(facts.st_size);
    void* const start = mmap(nullptr, size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, file, 0);
    require(start != MAP_FAILED, path + ": cannot be mapped");
    close(file);
    return {static_cast<std::uint8_t const*>(start), size};
}

// --- where the blocks are ---

std::vector<bytes> blocks(bytes tar, std::size_t size) {
    std::vector<bytes> found;
    for (; !tar.empty(); tar = tar.subspan(std::min(size, tar.size())))
        found.push_back(tar.first(std::min(size, tar.size())));
    return found;
}

std::size_t octal(bytes field) {
    std::size_t value = 0;
    for (auto const digit : field)
        if (digit >= '0' && digit <= '7') value = value * 8 + (digit - std::size_t{'0'});
    return value;
}

std::vector<bytes> payloads(bytes tar) {
    constexpr std::size_t record = 512;
    std::vector<bytes> found;
    std::size_t begun = 0;
    auto const cut = [&](std::size_t end) {
        for (auto const block : blocks(tar.subspan(begun, end - begun), 4 * mebibyte)) found.push_back(block);
        begun = end;
    };
    for (std::size_t at = 0; at + record <= tar.size() && tar[at] != 0;) {
        auto const size = octal(tar.subspan(at + 124, 12));
        auto const type = tar[at + 156];
        at += record;
        if (size > 0 && (type == '0' || type == 0)) cut(at);
        at += (size + record - 1) / record * record;
    }
    cut(tar.size());
    return found;
}

// --- who compresses ---

using space = std::vector<std::uint8_t>;
using compressor = std::function<std::size_t(bytes in, space& out)>;

compressor libdeflate(int wanted) {
    require(shiplap::libdeflate_backend::levels.contains(wanted), "libdeflate does not know this level");
    auto const states = std::make_shared<std::map<int, std::shared_ptr<libdeflate_compressor>>>();
    return [=](bytes in, space& out) {
        auto const level = wanted == -1 ? shiplap::detail::libdeflate_level_for(std::as_bytes(in)) : wanted;
        auto& state = (*states)[level];
        if (!state) state = {libdeflate_alloc_compressor(level), libdeflate_free_compressor};
        out.resize(libdeflate_gzip_compress_bound(state.get(), in.size()));
        return libdeflate_gzip_compress(state.get(), in.data(), in.size(), out.data(), out.size());
    };
}

compressor isal(int level) {
    constexpr std::size_t needs[] = {0, ISAL_DEF_LVL1_SMALL, ISAL_DEF_LVL2_SMALL, ISAL_DEF_LVL3_SMALL};
    require(level >= 0 && level <= 3, "ISA-L has levels 0 to 3");
    auto const scratch = std::make_shared<space>(needs[level]);
    return [=](bytes in, space& out) {
        out.resize(in.size() + in.size() / 4 + 4096);
        isal_zstream stream;
        isal_deflate_stateless_init(&stream);
        stream.level = static_cast<std::uint32_t>(level);
        stream.level_buf = scratch->data();
        stream.level_buf_size = static_cast<std::uint32_t>(scratch->size());
        stream.gzip_flag = IGZIP_GZIP;
        stream.end_of_stream = 1;
        stream.next_in = const_cast<std::uint8_t*>(in.data());
        stream.avail_in = static_cast<std::uint32_t>(in.size());
        stream.next_out = out.data();
        stream.avail_out = static_cast<std::uint32_t>(out.size());
        require(isal_deflate_stateless(&stream) == COMP_OK, "ISA-L failed");
        return std::size_t{stream.total_out};
    };
}

compressor zstd(int level) {
    std::shared_ptr<ZSTD_CCtx> const state{ZSTD_createCCtx(), ZSTD_freeCCtx};
    ZSTD_CCtx_setParameter(state.get(), ZSTD_c_compressionLevel, level);
    ZSTD_CCtx_setParameter(state.get(), ZSTD_c_windowLog, 23);
    return [=](bytes in, space& out) {
        out.resize(ZSTD_compressBound(in.size()));
        auto const size = ZSTD_compress2(state.get(), out.data(), out.size(), in.data(), in.size());
        require(ZSTD_isError(size) == 0, "zstd failed");
        return size;
    };
}

compressor named(std::string_view backend, int level) {
    if (backend == "libdeflate") return libdeflate(level);
    if (backend == "isal") return isal(level);
    if (backend == "zstd") return zstd(level);
    throw std::runtime_error{"no backend called " + std::string{backend}};
}

// --- what is asked for ---

void read_tree(std::string const& tree) {
    double seconds = 0;
    auto const total = timed(seconds, [&] {
        space buffer(mebibyte);
        std::uint64_t sum = 0;
        for (auto const& entry : std::filesystem::recursive_directory_iterator{tree}) {
            if (!entry.is_regular_file() || entry.is_symlink()) continue;
            int const file = open(entry.path().c_str(), O_RDONLY | O_CLOEXEC);
            require(file >= 0, entry.path().string() + ": cannot be opened");
            ssize_t got = 0;
            while ((got = read(file, buffer.data(), buffer.size())) > 0)
                sum += static_cast<std::uint64_t>(got);
            require(got == 0, entry.path().string() + ": cannot be read");
            close(file);
        }
        return sum;
    });
    std::cout << "{\"bytes\": " << total << ", \"read\": " << seconds << "}\n";
}

void write_file(std::string const& from, std::string const& to) {
    auto const data = mapped(from);
    int const file = open(to.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    require(file >= 0, to + ": cannot be created");
    double seconds = 0;
    for (auto const block : blocks(data, mebibyte)) {
        auto const written = timed(seconds, [&] { return write(file, block.data(), block.size()); });
        require(written == static_cast<ssize_t>(block.size()), to + ": cannot be written");
    }
    close(file);
    std::cout << "{\"bytes\": " << data.size() << ", \"write\": " << seconds << "}\n";
}

void pack(std::string_view backend, int level, std::string_view by, std::string const& path) {
    auto const tar = mapped(path);
    auto const compress = named(backend, level);
    bool const is_estargz = by == "payloads";
    auto const parts = is_estargz ? payloads(tar) : blocks(tar, backend == "zstd" ? 8 * mebibyte : mebibyte);
    CryptoPP::SHA256 plain, packed;
    auto const hash = [](CryptoPP::SHA256& into, bytes data) {
        into.Update(data.data(), data.size());
        return 0;
    };
    double hash_in = 0, codec = 0, hash_out = 0;
    std::uint64_t total = 0;
    space out;
    for (auto const part : parts) {
        timed(hash_in, [&] {
            std::array<std::uint8_t, CryptoPP::SHA256::DIGESTSIZE> digest;
            if (is_estargz) CryptoPP::SHA256{}.CalculateDigest(digest.data(), part.data(), part.size());
            return hash(plain, part);
        });
        auto const size = timed(codec, [&] { return compress(part, out); });
        require(size > 0, "a block was not compressed");
        timed(hash_out, [&] { return hash(packed, bytes{out}.first(size)); });
        total += size;
    }
    std::cout << "{\"bytes_in\": " << tar.size() << ", \"bytes_out\": " << total
              << ", \"hash_in\": " << hash_in << ", \"codec\": " << codec << ", \"hash_out\": " << hash_out
              << "}\n";
}

} // namespace

int main(int count, char** values) try {
    std::vector<std::string> const words(values + 1, values + count);
    if (words.size() == 2 && words[0] == "read")
        read_tree(words[1]);
    else if (words.size() == 3 && words[0] == "write")
        write_file(words[1], words[2]);
    else if (words.size() == 5 && words[0] == "pack" && (words[3] == "blocks" || words[3] == "payloads"))
        pack(words[1], number(words[2]), words[3], words[4]);
    else
        throw std::runtime_error{
            "limits read TREE | limits write FILE TO | limits pack BACKEND LEVEL blocks|payloads TAR"};
} catch (std::exception const& problem) {
    std::cerr << problem.what() << '\n';
    return 1;
}
