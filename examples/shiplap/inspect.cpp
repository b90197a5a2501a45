// shiplap inspect: what an image consists of.

#include "command.hpp"
#include "interruption.hpp"
#include "transports.hpp"

#include <cstdio>

namespace shiplap_command {

using namespace shiplap;

namespace {

template <class Store>
json describe_manifest(Store const& store, descriptor const& what, image_manifest const& manifest) {
    json out{{"digest", what.digest.text()}, {"mediaType", what.media_type}, {"size", what.size}};
    if (what.platform) out["platform"] = format(*what.platform);
    if (!manifest.annotations.empty()) out["annotations"] = manifest.annotations;
    out["config"] = to_json(manifest.config);
    std::uint64_t total = manifest.config.size + what.size;
    out["layers"] = json::array();
    for (auto const& layer : manifest.layers) {
        out["layers"].push_back(to_json(layer));
        total += layer.size;
    }
    if (manifest.config.media_type == oci_media_types::config ||
        manifest.config.media_type == docker_media_types::config) {
        auto const config = parse_json(read_blob(store, manifest.config), manifest.config.digest.text());
        out["configuration"] = config;
    }
    out["totalSize"] = total;
    return out;
}

/// A manifest that holds what is said about another one.
json describe_attestations(descriptor const& what, image_manifest const& manifest) {
    json out{{"digest", what.digest.text()}, {"mediaType", what.media_type}, {"size", what.size}};
    if (auto const image = what.annotations.find(std::string{reference_digest_annotation});
        image != what.annotations.end())
        out["about"] = image->second;
    out["statements"] = json::array();
    for (auto const& layer : manifest.layers) out["statements"].push_back(to_json(layer));
    return out;
}

template <class Store>
json describe(Store const& store, descriptor const& root) {
    auto const graph = read_graph(root, store);
    json out{{"root", to_json(root)}};
    if (auto const index = graph.indexes.find(root.digest);
        index != graph.indexes.end() && !index->second.annotations.empty())
        out["annotations"] = index->second.annotations;
    out["manifests"] = json::array();
    for (auto const& node : graph.contents) {
        if (node.role != node_role::manifest) continue;
        if (!node.what.annotations.contains(std::string{reference_type_annotation}))
            out["manifests"].push_back(
                describe_manifest(store, node.what, graph.manifests.at(node.what.digest)));
    }
    // One manifest may speak of several images: of all that have no name, for instance.
    auto attestations = json::array();
    for (auto const& [_, index] : graph.indexes)
        for (auto const& entry : index.manifests)
            if (auto const found = graph.manifests.find(entry.digest);
                found != graph.manifests.end() &&
                entry.annotations.contains(std::string{reference_type_annotation}))
                attestations.push_back(describe_attestations(entry, found->second));
    if (!attestations.empty()) out["attestations"] = std::move(attestations);
    return out;
}

std::string text_of(json const& value) {
    return value.is_string() ? printable(value.get<std::string>()) : compact(value);
}

void line(std::string const& label, std::string const& value) {
    std::printf("%-12s %s\n", label.c_str(), value.c_str());
}

void print_configuration(json const& image) {
    if (!image.contains("configuration")) return;
    auto const& configuration = image["configuration"];
    line("platform", text_of(configuration.value("os", json("?"))) + "/" +
                         text_of(configuration.value("architecture", json("?"))) +
                         (configuration.contains("variant") ? "/" + text_of(configuration["variant"]) : ""));
    if (configuration.contains("created") && !configuration["created"].is_null())
        line("created", text_of(configuration["created"]));
    if (!configuration.contains("config") || !configuration["config"].is_object()) return;
    for (auto const& [key, value] : configuration["config"].items())
        if (!value.is_null()) line(printable(key), text_of(value));
}

void print_annotations(json const& owner) {
    if (!owner.contains("annotations")) return;
    for (auto const& [key, value] : owner["annotations"].items())
        line("annotation", printable(key) + "=" + text_of(value));
}

void print_attestations(json const& image) {
    line("attestations", image["digest"].get<std::string>());
    if (image.contains("about")) line("  about", text_of(image["about"]));
    for (auto const& statement : image["statements"]) {
        auto const annotations = statement.value("annotations", json::object());
        line("  statement", statement["digest"].get<std::string>() + "  " +
                                human_size(statement["size"].get<std::uint64_t>()) + "  " +
                                text_of(annotations.value("in-toto.io/predicate-type",
                                                          statement["mediaType"].get<std::string>())));
    }
}

void print_manifest(json const& image) {
    line("manifest", image["digest"].get<std::string>());
    line("media type", image["mediaType"].get<std::string>());
    line("config", image["config"]["digest"].get<std::string>() + "  " +
                       human_size(image["config"]["size"].get<std::uint64_t>()));
    print_configuration(image);
    print_annotations(image);
    line("layers", std::to_string(image["layers"].size()) + ", " +
                       human_size(image["totalSize"].get<std::uint64_t>()) + " in all");
    std::size_t number = 0;
    for (auto const& layer : image["layers"]) {
        line("  " + std::to_string(++number), layer["digest"].get<std::string>() + "  " +
                                                  human_size(layer["size"].get<std::uint64_t>()) + "  " +
                                                  layer["mediaType"].get<std::string>());
        auto const pointer =
            json::json_pointer{"/configuration/rootfs/diff_ids/" + std::to_string(number - 1)};
        if (image.contains(pointer)) line("  diff_id", text_of(image[pointer]));
    }
}

} // namespace

void inspect_image(std::string const& image, bool as_json, common_options const& common) {
    auto const where = parse_location("IMAGE", image, common.store);
    auto const registries = open_registries(common, progress_ref{});
    auto const source = open_source(where, registries);
    begin_interruptible_work();
    auto const root = std::visit([&](auto const& store) { return resolve_in(store, where); }, source);
    auto const facts = std::visit([&](auto const& store) { return describe(store, root); }, source);
    if (as_json) {
        std::printf("%s\n", pretty(facts).c_str());
        return;
    }
    auto const name = name_of_entry(root);
    line("image", printable(image));
    if (auto const& known_as = name.full.empty() ? name.ref_name : name.full; !known_as.empty())
        line("name", printable(known_as));
    line("digest", root.digest.text());
    print_annotations(facts);
    for (auto const& manifest : facts["manifests"]) print_manifest(manifest);
    if (facts.contains("attestations"))
        for (auto const& one : facts["attestations"]) print_attestations(one);
}

} // namespace shiplap_command
