// shiplap index create: one index out of images that several machines have pushed.

#include <shiplap/shiplap.hpp>

#include "command.hpp"
#include "interruption.hpp"
#include "registries.hpp"

#include <algorithm>
#include <cstdio>
#include <list>

namespace shiplap_command {

using namespace shiplap;

namespace {

bool is_attestation(descriptor const& entry) {
    return entry.annotations.contains("vnd.docker.reference.type");
}

/// The entries of the index to be, and where what they name is read.
class joined_images {
  public:
    explicit joined_images(memory_store& documents) : contents_{documents} {}

    void add(registry_source const& from, descriptor const& root, std::string const& name) {
        try {
            auto const graph = read_graph(root, from); // throws if anything is missing
            for (auto const& node : graph.contents)
                contents_.add(node.what.digest,
                              [from, which = node.what.digest] { return from.reader(which); });
            if (auto const index = graph.indexes.find(root.digest); index != graph.indexes.end()) {
                for (auto const& [key, value] : index->second.annotations) annotations_[key] = value;
                for (auto const& entry : index->second.manifests) add_entry(entry, name);
            } else {
                auto entry = root;
                entry.annotations.clear(); // those in this program: an image by itself has none
                entry.platform = platform_of(graph.manifests.at(root.digest), from);
                add_entry(std::move(entry), name);
            }
        } catch (error& failure) {
            failure.within("image " + printable(name));
            throw;
        }
    }

    void annotate(detail::annotation_key const& to, std::string const& value) {
        if (to.type == "index") {
            annotations_[to.key] = value;
            return;
        }
        bool found = false;
        for (auto& entry : entries_) {
            bool const fits = to.platform.empty()
                                  ? !is_attestation(entry.what)
                                  : entry.what.platform && format(*entry.what.platform) == to.platform;
            if (fits) entry.what.annotations[to.key] = value;
            found |= fits;
        }
        if (!found)
            throw option_error{"--annotation",
                               "no image is for the platform '" + printable(to.platform) + "'"};
    }

    [[nodiscard]] image_index index() const {
        image_index out{.media_type = std::string{docker_media_types::index}, .annotations = annotations_};
        bool oci = !annotations_.empty();
        for (auto const& entry : entries_) {
            oci |=
                !entry.what.annotations.empty() || (entry.what.media_type != docker_media_types::manifest &&
                                                    entry.what.media_type != docker_media_types::index);
            out.manifests.push_back(entry.what);
        }
        if (oci) out.media_type = oci_media_types::index;
        return out;
    }

    [[nodiscard]] overlay_store<memory_store> const& contents() const noexcept { return contents_; }

  private:
    struct joined_image {
        descriptor what;
        std::string name;
    };

    static std::optional<platform> platform_of(image_manifest const& manifest, registry_source const& from) {
        if (manifest.config.media_type != oci_media_types::config &&
            manifest.config.media_type != docker_media_types::config)
            return std::nullopt;
        return normalised(
            read_config(read_blob(from, manifest.config), manifest.config.digest.text()).platform);
    }

    void add_entry(descriptor what, std::string const& name) {
        for (auto const& there : entries_) {
            if (there.what.digest == what.digest) return;
            if (what.platform && there.what.platform == what.platform && !is_attestation(what) &&
                !is_attestation(there.what))
                throw option_error{"IMAGE", "'" + printable(there.name) + "' and '" + printable(name) +
                                                "' are both for " + format(*what.platform)};
        }
        entries_.push_back({std::move(what), name});
    }

    overlay_store<memory_store> contents_;
    std::vector<joined_image> entries_;
    annotation_map annotations_;
};

// "KEY=VALUE", "index:KEY=VALUE" or "manifest-descriptor[linux/amd64]:KEY=VALUE".
std::pair<detail::annotation_key, std::string> parse_annotation(std::string const& text) {
    auto const equals = text.find('=');
    auto const left = text.substr(0, equals);
    auto const colon = left.find(':');
    auto const type = colon == std::string::npos ? "index" : left.substr(0, colon);
    auto const key = colon == std::string::npos ? left : left.substr(colon + 1);
    auto parsed = detail::parse_annotation_key("annotation-" + type + "." + key);
    if (equals == std::string::npos || !parsed ||
        (parsed->type != "index" && parsed->type != "manifest-descriptor"))
        throw option_error{"--annotation", "'" + printable(text) +
                                               "': expected [index:]KEY=VALUE or "
                                               "manifest-descriptor[PLATFORM]:KEY=VALUE"};
    return {std::move(*parsed), text.substr(equals + 1)};
}

struct index_env {
    progress_display& progress;
};

} // namespace

void create_index(std::string const& name, std::vector<std::string> const& images,
                  std::vector<std::string> const& annotations, common_options const& common) {
    progress_display display{parse_progress_style(common.progress)};
    auto const target = reference::parse(name).with_default_tag();
    if (target.digest())
        throw option_error{"NAME", "'" + printable(name) +
                                       "' has a digest, which only the result can tell; give a tag"};
    std::vector<std::pair<detail::annotation_key, std::string>> wanted;
    wanted.reserve(annotations.size());
    for (auto const& annotation : annotations) wanted.push_back(parse_annotation(annotation));

    begin_interruptible_work();
    auto const registries = open_registries(common, progress_ref{display});
    memory_store documents;
    joined_images joined{documents};
    for (auto const& image : images) {
        for (std::string_view const elsewhere : {"oci-layout:", "oci-archive:", "docker-archive:", "store:"})
            if (image.starts_with(elsewhere))
                throw option_error{"IMAGE", "'" + printable(image) +
                                                "' is in no registry; push it first: shiplap copy " +
                                                printable(image) + " docker://NAME"};
        auto const from =
            reference::parse(image.starts_with("docker://") ? image.substr(9) : image).with_default_tag();
        auto const source = registries.source(from);
        joined.add(source, source.resolve(from.digest() ? from.digest()->text() : from.tag()), image);
    }
    for (auto const& [key, value] : wanted) joined.annotate(key, value);

    auto const index = joined.index();
    auto const text = to_text(index);
    descriptor const root{index.media_type, digest::of<sha256>(as_bytes(text)), text.size()};
    span_source source{text};
    store_blob(documents, {root.digest, root.size}, source);
    index_env env{display};
    auto sink = registries.sink({target});
    copy(root, {}, joined.contents(), sink, env);
    std::printf("%s\n", root.digest.text().c_str());
}

} // namespace shiplap_command
