#pragma once
// existing: an image that exists, as the input of an export: to convert it, or to put it elsewhere.
//
//     auto result = as_result(read_base(images, images.resolve("debian:12"))); // for one platform
//     auto image = read_existing(images, images.resolve("app:1"));             // all of it
//     keep_index_annotations(options, image);
//     out(image.input(), options);
//
// The layers are the result's own: what an export says of codec and times goes for all of them. What nothing is
// said of stays: the configuration, to the byte as long as it fits the layers, annotations, platforms, the order
// of the index, attestations. Statements about an image that becomes another one are then about that one.
//
// An index may hold what is neither an image nor an attestation, such as a signature. That is left out with a
// warning, for what it says of the old bytes would not be true of the new ones.

#include <shiplap/export/base.hpp>
#include <shiplap/export/result.hpp>
#include <shiplap/export/spec.hpp>
#include <shiplap/image/attestation_file.hpp>
#include <shiplap/store/graph.hpp>

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace shiplap {

/// The image as a result of its own; `with` is what else is said of it, and its configuration goes before the
/// image's. `with.layers` and `with.base` must be empty: they would make it a base.
inline build_result as_result(base_image image, build_result with = {}) {
    with.layers = std::move(image.layers);
    if (!with.config) with.config = std::move(image.config);
    with.kept = kept_facts{.annotations = std::move(image.annotations)};
    return with;
}

/// What read_existing() returns.
struct existing_image {
    std::vector<build_result> results{}; ///< in the order of the index
    bool is_list = false;                ///< an index, and not only because of attestations
    annotation_map index_annotations{};
    annotation_map index_descriptor_annotations{};
    std::vector<std::string> warnings{}; ///< what was left out

    [[nodiscard]] export_input input() const { return {results, is_list}; }
};

namespace detail {

/// Reads the statements that an attestation manifest holds. Those about `image` will be about what becomes of it.
template <blob_reader_source S>
void read_statements(S const& from, image_manifest const& manifest, digest const& image,
                     std::vector<attestation>& attestations, std::vector<std::string>& warnings) {
    auto const is_image = [&](attestation_subject const& subject) {
        auto const found = subject.digests.find(std::string{image.algorithm()});
        return found != subject.digests.end() && found->second == image.encoded();
    };
    for (auto const& layer : manifest.layers) {
        if (layer.media_type != in_toto_media_type) {
            warnings.push_back("attestation " + layer.digest.text() + " of type " +
                               printable(layer.media_type) + " is no in-toto statement: it is left out");
            continue;
        }
        auto one = parse_statement(read_blob(from, layer, max_attestation_size), layer.digest.text());
        auto& subjects = one.subjects;
        if (std::all_of(subjects.begin(), subjects.end(), is_image))
            subjects.clear(); // the names of the export will do
        else
            for (auto& subject : subjects)
                if (is_image(subject)) subject.digests.clear();
        attestations.push_back(std::move(one));
    }
}

/// Makes results of what a graph holds.
template <class Store>
class existing_reader {
  public:
    existing_reader(Store const& store, descriptor const& root)
        : store_{store}, graph_{read_graph(root, pointee(store))} {
        for (auto const& node : graph_.contents) there_.insert(node.what.digest);
    }

    existing_image read() && {
        auto const index = graph_.indexes.find(graph_.root.digest);
        if (index == graph_.indexes.end()) {
            if (!is_runnable(graph_.manifests.at(graph_.root.digest)))
                refuse("this is no image that can be run");
            out_.results.push_back(result_of(named_by_itself(graph_.root)));
            return std::move(out_);
        }
        auto const& entries = index->second.manifests;
        for (auto const& entry : entries) read_entry(entry);
        for (auto const& entry : entries)
            if (is_attestation(entry)) read_attestation(entry);
        if (out_.results.empty()) refuse("this index holds no image that can be run");
        out_.is_list = out_.results.size() > 1 || out_.results.front().attestations.empty();
        out_.index_annotations = index->second.annotations;
        out_.index_descriptor_annotations = named_by_itself(graph_.root).annotations;
        return std::move(out_);
    }

  private:
    [[noreturn]] void refuse(std::string reason) const {
        throw error{error_code::not_found, "read image", graph_.root.digest.text(), std::move(reason)};
    }

    // What an index.json says of the image, but for its names and when it was put there.
    static descriptor named_by_itself(descriptor root) {
        std::erase_if(root.annotations, [](auto const& one) {
            return one.first == "org.opencontainers.image.ref.name" ||
                   one.first == "io.containerd.image.name" ||
                   one.first == "org.opencontainers.image.created" ||
                   one.first.starts_with("containerd.io/distribution.source.");
        });
        root.platform.reset();
        return root;
    }

    static bool is_attestation(descriptor const& entry) {
        auto const type = entry.annotations.find(std::string{reference_type_annotation});
        return type != entry.annotations.end() && type->second == "attestation-manifest";
    }

    void leave_out(descriptor const& entry, std::string const& what) {
        out_.warnings.push_back(entry.digest.text() + " in the index is " + what + ": it is left out");
    }

    void read_entry(descriptor const& entry) {
        if (is_index_type(entry.media_type))
            throw error{error_code::unsupported, "read image", entry.digest.text(),
                        "is an index inside the index " + graph_.root.digest.text() +
                            "; convert each of them apart"};
        if (is_attestation(entry)) return;
        auto const manifest = graph_.manifests.find(entry.digest);
        if (manifest == graph_.manifests.end())
            return leave_out(entry, "of the media type " + printable(entry.media_type) + " and no image");
        if (!is_runnable(manifest->second) ||
            entry.annotations.contains(std::string{reference_type_annotation}))
            return leave_out(entry, "no image that can be run");
        try {
            out_.results.push_back(result_of(entry));
        } catch (error& failure) {
            if (entry.platform) failure.within("platform " + format(*entry.platform));
            throw;
        }
        places_.emplace(entry.digest.text(), out_.results.size() - 1);
    }

    void read_attestation(descriptor const& entry) {
        auto const about = entry.annotations.find(std::string{reference_digest_annotation});
        auto const place = about == entry.annotations.end() ? places_.end() : places_.find(about->second);
        auto const manifest = graph_.manifests.find(entry.digest);
        if (place == places_.end() || manifest == graph_.manifests.end())
            return leave_out(entry, "an attestation of no image in it");
        auto& result = out_.results[place->second];
        read_statements(pointee(store_), manifest->second, digest::parse(place->first), result.attestations,
                        out_.warnings);
    }

    build_result result_of(descriptor const& entry) {
        auto known = read_.find(entry.digest); // under two platforms: its layers are packed once
        if (known == read_.end()) {
            auto image = read_found_image(store_, {entry, graph_.manifests.at(entry.digest)}, std::nullopt,
                                          [&](digest const& layer) { return there_.contains(layer); });
            known = read_.emplace(entry.digest, as_result(std::move(image))).first;
        }
        auto out = known->second;
        out.kept->descriptor_annotations = entry.annotations;
        out.kept->platform = entry.platform;
        return out;
    }

    Store const& store_;
    image_graph graph_;
    existing_image out_;
    std::set<digest> there_; // what the store has: it is not asked again
    std::map<digest, build_result> read_;
    std::map<std::string, std::size_t> places_; // of images in the results, by digest
};

} // namespace detail

/// Reads all of the image `root`: a manifest, or an index of images and attestations. `store` must outlive the
/// results. Throws as read_graph() and read_base() do; error{unsupported} for an index that holds indexes,
/// error{not_found} for one without an image.
template <blob_reader_source S>
existing_image read_existing(S const& store, descriptor const& root) {
    return detail::existing_reader<S>{store, root}.read();
}

template <blob_reader_source S>
existing_image read_existing(S const&& store, descriptor const& root) = delete; // its layers would dangle

/// The same; the layers share `store`.
template <blob_reader_source S>
existing_image read_existing(std::shared_ptr<S> store, descriptor const& root) {
    std::shared_ptr<S const> const shared{std::move(store)};
    return detail::existing_reader<std::shared_ptr<S const>>{shared, root}.read();
}

/// Lets the index have the annotations that it had, where `options` say nothing else.
inline void keep_index_annotations(export_options& options, existing_image const& image) {
    options.index_annotations.insert(image.index_annotations.begin(), image.index_annotations.end());
    options.index_descriptor_annotations.insert(image.index_descriptor_annotations.begin(),
                                                image.index_descriptor_annotations.end());
}

/// The same for a spec. Annotations need OCI's media types, so it takes these; if Docker's were asked for, a
/// warning says that the annotations are left out. Mere files have none.
inline void keep_index_annotations(export_spec& spec, existing_image const& image) {
    bool const is_files = spec.type == output_type::local || spec.type == output_type::tar;
    auto const& inside = image.index_annotations;
    auto const& outside = image.index_descriptor_annotations;
    if ((inside.empty() && outside.empty()) || is_files) return;
    if (spec.docker_types_asked) {
        spec.warnings.emplace_back(
            "Docker's media types have no place for the annotations of the index: they "
            "are left out");
        return;
    }
    spec.oci_types = true;
    spec.index_annotations.insert(inside.begin(), inside.end());
    spec.index_descriptor_annotations.insert(outside.begin(), outside.end());
}

} // namespace shiplap
