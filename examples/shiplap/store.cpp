// shiplap store: what is in the local image store, and what shall not be any longer.

#include <shiplap/shiplap.hpp>

#include "command.hpp"
#include "interruption.hpp"

#include <algorithm>
#include <cstdio>

namespace shiplap_command {

using namespace shiplap;

namespace {

std::string path_of(common_options const& common) {
    return common.store.empty() ? default_store() : common.store;
}

// A store that nothing was put into yet is an empty one; a folder of other things is an error.
bool is_there(std::string const& path) {
    if (detail::file_facts(layout_store{path}.path() + "/index.json")) return true;
    std::fprintf(stderr, "shiplap: there is no image store in %s yet\n", printable(path).c_str());
    return false;
}

std::string name_to_show(descriptor const& entry) {
    auto const name = name_of_entry(entry);
    return !name.full.empty() ? name.full : name.ref_name;
}

struct listed_image {
    std::string name, digest, platforms, problem;
    std::uint64_t size = 0; // of the blobs that are there
    std::vector<reachable_image> images;
};

listed_image describe(layout_store const& store, descriptor const& entry) {
    listed_image out{.name = name_to_show(entry),
                     .digest = entry.digest.text(),
                     .platforms = {},
                     .problem = {},
                     .images = {}};
    try {
        auto const found = find_reachable(std::vector{entry}, store);
        for (auto const& [which, size] : found.blobs)
            if (store.contains(which)) out.size += size;
        out.images = found.images;
        for (auto const& image : found.images)
            out.platforms += (out.platforms.empty() ? "" : ",") + format(image.platform);
    } catch (error const& problem) { // one damaged image must not hide the others
        out.problem = problem.what();
    }
    return out;
}

json to_json(listed_image const& image, std::string const& store) {
    json out{{"name", image.name}, {"digest", image.digest}};
    if (!image.problem.empty()) {
        out["error"] = image.problem;
        return out;
    }
    out["size"] = image.size;
    out["platforms"] = json::array();
    for (auto const& one : image.images) {
        json platform{{"platform", format(one.platform)}, {"chainId", one.chain.text()}};
        if (is_unpacked(store, one.chain)) platform["unpacked"] = unpacked_path(store, one.chain);
        out["platforms"].push_back(std::move(platform));
    }
    return out;
}

void print_table(std::vector<listed_image> const& images, std::string const& store) {
    int name_width = 4, platform_width = 9;
    for (auto const& image : images) {
        name_width = std::max(name_width, static_cast<int>(printable(image.name).size()));
        platform_width = std::max(platform_width, static_cast<int>(printable(image.platforms).size()));
    }
    std::printf("%-*s  %-71s  %-*s  %s\n", name_width, "NAME", "DIGEST", platform_width, "PLATFORMS", "SIZE");
    for (auto const& image : images) {
        std::printf("%-*s  %-71s  %-*s  %s\n", name_width, printable(image.name).c_str(),
                    image.digest.c_str(), platform_width, printable(image.platforms).c_str(),
                    image.problem.empty() ? human_size(image.size).c_str() : "damaged");
        for (auto const& one : image.images)
            if (is_unpacked(store, one.chain))
                std::printf("%-*s  in %s\n", name_width, "",
                            printable(unpacked_path(store, one.chain)).c_str());
        if (!image.problem.empty()) std::fprintf(stderr, "shiplap: %s\n", image.problem.c_str());
    }
}

} // namespace

void list_store(bool as_json, common_options const& common) {
    auto const path = path_of(common);
    std::vector<listed_image> images;
    if (is_there(path)) {
        layout_store const store{path};
        for (auto const& entry : store.entries()) images.push_back(describe(store, entry));
    }
    if (as_json) {
        auto out = json::array();
        for (auto const& image : images) out.push_back(to_json(image, path));
        std::printf("%s\n", pretty(out).c_str());
    } else if (!images.empty()) {
        print_table(images, path);
    }
}

void remove_from_store(std::vector<std::string> const& names, common_options const& common) {
    for (auto const& entry : remove_names(path_of(common), names)) {
        auto const name = name_to_show(entry);
        std::printf("%s\n", name.empty() ? entry.digest.text().c_str() : printable(name).c_str());
    }
}

void clean_store(bool only_try, common_options const& common) {
    auto const path = path_of(common);
    collected_garbage found;
    if (is_there(path)) found = collect_garbage(path, only_try);
    for (auto const& blob : found.blobs) std::printf("blob %s\n", blob.text().c_str());
    for (auto const& tree : found.trees) std::printf("unpacked %s\n", tree.text().c_str());
    for (auto const& blob : found.kept)
        std::fprintf(stderr, "shiplap: an export that is running needs blob %s\n", blob.text().c_str());
    std::printf("%s %s in %zu blobs, %zu unpacked trees\n", only_try ? "would free" : "freed",
                human_size(found.bytes).c_str(), found.blobs.size(), found.trees.size());
}

} // namespace shiplap_command
