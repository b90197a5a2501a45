// Each stage alone, beside the bare calls that it is built on: `stage/x` and `baseline/x` do the same. What counts is their
// ratio within one run. stages.py runs this program and prints the ratios.

#include "support.hpp"

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <random>
#include <utility>

#include <unistd.h>

namespace shiplap::benchmarks {

namespace fs = std::filesystem;

std::string const& sample() {
    static std::string const text = [] {
        std::mt19937 random{1};
        std::string out;
        while (out.size() < sample_size) {
            for (int word = 0; word < 40; ++word) out += "the " + std::to_string(random() % 1000) + " words ";
            for (int byte = 0; byte < 300; ++byte) out += static_cast<char>(random());
        }
        out.resize(sample_size);
        return out;
    }();
    return text;
}

void give_up(std::string const& what) {
    std::perror(what.c_str());
    std::exit(1);
}

std::string const& scratch_folder() {
    struct folder {
        std::string path = (fs::temp_directory_path() / "shiplap-benchmarks-XXXXXX").string();
        folder() {
            if (::mkdtemp(path.data()) == nullptr) give_up("make " + path);
        }
        folder(folder const&) = delete;
        folder& operator=(folder const&) = delete;
        ~folder() {
            std::error_code ignored; // a temporary folder that stays is no reason to fail
            fs::remove_all(path, ignored);
        }
    };
    static folder const made;
    return made.path;
}

generated_tree const& tree_of(std::size_t files, std::size_t mean_size) {
    static std::map<std::pair<std::size_t, std::size_t>, generated_tree> made;
    auto const [at, is_new] = made.try_emplace({files, mean_size});
    auto& tree = at->second;
    if (!is_new) return tree;
    tree.path = scratch_folder() + "/tree-" + std::to_string(files) + "-" + std::to_string(mean_size);
    tree.files = files;
    for (std::size_t i = 0; i < files; ++i) {
        auto const folder = tree.path + "/directory-" + std::to_string(i / 50);
        if (i % 50 == 0) fs::create_directories(folder);
        auto const size = files == 1 ? mean_size : i * 2'654'435'761 % (2 * mean_size + 1);
        std::string content;
        while (content.size() < size)
            content += sample().substr(i * 4096 % sample_size, size - content.size());
        std::unique_ptr<std::FILE, int (*)(std::FILE*)> const file{
            std::fopen((folder + "/source-file-" + std::to_string(i) + ".cpp").c_str(), "wb"), &std::fclose};
        if (!file || std::fwrite(content.data(), 1, size, file.get()) != size)
            give_up("write below " + folder);
        tree.bytes += size;
    }
    return tree;
}

std::string tar_of(generated_tree const& tree) {
    string_sink tar;
    directory_layer{tree.path}.write_tar(tar, layer_context{});
    return std::move(tar.text);
}

} // namespace shiplap::benchmarks

int main(int argc, char** argv) {
    using namespace shiplap::benchmarks;
    compare_bytes();
    compare_digests();
    compare_tars();
    compare_codecs();
    compare_trees();
    compare_packing();
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
    benchmark::RunSpecifiedBenchmarks();
    return 0;
}
