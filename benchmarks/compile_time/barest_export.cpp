// The least that a program does which exports a folder into an OCI layout with the libraries that shiplap stands
// on: no errors, no streaming, no threads, no options. compile_time.py compiles it to tell how much of the time
// those libraries take by themselves once they are used, not just included.

#include <cryptopp/sha.h>
#include <nlohmann/json.hpp>
#include <zstd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace fs = std::filesystem;
using json = nlohmann::ordered_json;

std::string digest_of(std::string const& bytes) {
    CryptoPP::SHA256 hash;
    CryptoPP::byte raw[CryptoPP::SHA256::DIGESTSIZE];
    hash.CalculateDigest(raw, reinterpret_cast<CryptoPP::byte const*>(bytes.data()), bytes.size());
    std::string out;
    for (auto const byte : raw) {
        out += "0123456789abcdef"[byte >> 4];
        out += "0123456789abcdef"[byte & 15];
    }
    return out;
}

std::string read(std::string const& path) {
    std::string out(fs::file_size(path), '\0');
    int const file = ::open(path.c_str(), O_RDONLY);
    if (::read(file, out.data(), out.size()) >= 0) ::close(file);
    return out;
}

void write(std::string const& path, std::string const& bytes) {
    int const file = ::open((path + ".tmp").c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (::write(file, bytes.data(), bytes.size()) >= 0) ::fsync(file);
    ::close(file);
    fs::rename(path + ".tmp", path);
}

json put(char const* media_type, std::string const& bytes) {
    auto const name = digest_of(bytes);
    write("layout/blobs/sha256/" + name, bytes);
    return {{"mediaType", media_type}, {"digest", "sha256:" + name}, {"size", bytes.size()}};
}

std::string tar_of(std::string const& folder) {
    std::vector<std::string> names;
    for (auto const& entry : fs::recursive_directory_iterator(folder)) names.push_back(entry.path().string());
    std::sort(names.begin(), names.end());

    std::string tar;
    for (auto const& name : names) {
        bool const is_file = fs::is_regular_file(name);
        auto const content = is_file ? read(name) : std::string{};
        std::string header(512, '\0');
        std::snprintf(&header[0], 100, "%s", fs::relative(name, folder).c_str());
        std::snprintf(&header[100], 8, "%07o", is_file ? 0644U : 0755U);
        std::snprintf(&header[124], 12, "%011zo", content.size());
        header.replace(148, 9, is_file ? "        0" : "        5");
        header.replace(257, 8, "ustar\00000", 8);
        unsigned sum = 0;
        for (unsigned char const byte : header) sum += byte;
        std::snprintf(&header[148], 8, "%06o", sum);
        tar += header + content;
        tar.resize((tar.size() + 511) / 512 * 512);
    }
    return tar.append(1024, '\0');
}

int main(int, char** arguments) {
    fs::create_directories("layout/blobs/sha256");
    auto const tar = tar_of(arguments[1]);
    std::string packed(ZSTD_compressBound(tar.size()), '\0');
    packed.resize(ZSTD_compress(packed.data(), packed.size(), tar.data(), tar.size(), 3));

    auto config = json::parse(R"({"architecture":"amd64","os":"linux"})");
    config["rootfs"] = {{"type", "layers"}, {"diff_ids", json::array({"sha256:" + digest_of(tar)})}};
    json const manifest{
        {"schemaVersion", 2},
        {"config", put("application/vnd.oci.image.config.v1+json", config.dump())},
        {"layers", json::array({put("application/vnd.oci.image.layer.v1.tar+zstd", packed)})}};

    json index = fs::exists("layout/index.json") ? json::parse(read("layout/index.json"))
                                                 : json{{"schemaVersion", 2}, {"manifests", json::array()}};
    index["manifests"].push_back(put("application/vnd.oci.image.manifest.v1+json", manifest.dump(2)));
    write("layout/index.json", index.dump());
    write("layout/oci-layout", R"({"imageLayoutVersion":"1.0.0"})");
}
