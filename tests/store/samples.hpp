#pragma once
// Small images and what else the tests of stores and sinks share.

#include <shiplap/image/descriptor.hpp>
#include <shiplap/image/index.hpp>
#include <shiplap/image/manifest.hpp>
#include <shiplap/image/media_types.hpp>
#include <shiplap/image/reference.hpp>
#include <shiplap/store/concept.hpp>
#include <shiplap/store/memory.hpp>

#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace samples {

using namespace shiplap;

inline content_facts facts_of(std::string_view text) {
    return {digest::of<sha256>(as_bytes(text)), text.size()};
}

/// Puts a text into any blob_store.
template <blob_store S>
descriptor put(S& store, std::string_view text, std::string_view media_type = "application/octet-stream") {
    auto const facts = facts_of(text);
    auto writer = store.open();
    writer.write(as_bytes(text));
    writer.commit(facts);
    return {.media_type = std::string{media_type}, .digest = facts.digest, .size = facts.size};
}

/// An image manifest over layers that are in the store already; the configuration is made of `seed`.
template <blob_store S>
descriptor put_manifest(S& store, std::vector<descriptor> layers, std::string const& seed) {
    image_manifest manifest{.media_type = std::string{oci_media_types::manifest},
                            .config = put(store,
                                          R"({"architecture":"amd64","os":"linux","author":")" + seed + "\"}",
                                          oci_media_types::config),
                            .layers = std::move(layers)};
    return put(store, to_text(manifest), manifest.media_type);
}

/// An image of one layer for each text.
template <blob_store S>
descriptor put_image(S& store, std::vector<std::string> const& texts) {
    std::vector<descriptor> layers;
    for (auto const& text : texts) layers.push_back(put(store, text, oci_media_types::layer("")));
    return put_manifest(store, layers, "someone");
}

template <blob_store S>
descriptor put_index(S& store, std::vector<descriptor> manifests) {
    image_index index{.media_type = std::string{oci_media_types::index}, .manifests = std::move(manifests)};
    return put(store, to_text(index), index.media_type);
}

inline descriptor on(descriptor what, std::string os, std::string architecture, std::string variant = {}) {
    what.platform =
        platform{.os = std::move(os), .architecture = std::move(architecture), .variant = std::move(variant)};
    return what;
}

inline image_name name(std::string const& tag) {
    return {"docker.io/library/app:" + tag, tag};
}

template <byte_source R>
std::string read_all(R source) {
    string_sink out;
    transfer(source, out);
    return std::move(out.text);
}

inline void write_text(std::string const& path, std::string_view text) {
    std::filesystem::create_directories(std::filesystem::path{path}.parent_path());
    std::ofstream{path, std::ios::binary} << text;
}

inline std::string read_text(std::string const& path) {
    std::ifstream file{path, std::ios::binary};
    return {std::istreambuf_iterator<char>{file}, {}};
}

inline std::string blob_path(std::string const& layout, digest const& which) {
    return layout + "/blobs/" + std::string{which.algorithm()} + "/" + std::string{which.encoded()};
}

inline ::mode_t mode_of(std::string const& path) {
    struct ::stat facts {};
    return ::stat(path.c_str(), &facts) == 0 ? facts.st_mode & 07777u : 0;
}

/// Everything below a directory: path -> mode and content.
inline std::map<std::string, std::string> snapshot(std::string const& folder) {
    std::map<std::string, std::string> out;
    if (!std::filesystem::exists(folder)) return out;
    out["."] = std::to_string(mode_of(folder));
    for (auto const& entry : std::filesystem::recursive_directory_iterator{folder}) {
        auto const path = entry.path().string();
        out[path.substr(folder.size())] =
            std::to_string(mode_of(path)) + (entry.is_regular_file() ? ":" + read_text(path) : "/");
    }
    return out;
}

/// Runs `work` in a process of its own and returns its wait status; an exception exits with 99.
inline int in_child(std::function<int()> const& work) {
    auto const child = ::fork();
    if (child == 0) {
        int code = 99;
        try {
            code = work();
        } catch (...) {
        }
        ::_exit(code);
    }
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return status;
}

inline bool exited_with(int status, int code) {
    return WIFEXITED(status) && WEXITSTATUS(status) == code;
}

} // namespace samples
