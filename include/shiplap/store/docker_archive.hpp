#pragma once
// docker_archive_store: the images of an archive that `docker save`, podman, skopeo or docker_archive_sink
// made, read in place.
//
//     docker_archive_store archive{"app.tar"};
//     copy(archive.resolve("app:1"), names, archive, sink, env);
//
// Newer archives hold an OCI image layout as well; where that is whole it is what is read, and digests are
// those of the registry. Others have only manifest.json, a list of images as file names:
//
//     [{"Config":"<hex>.json","RepoTags":["app:1"],"Layers":["<path>.tar",...]}]
//
// For those an image manifest is made up, of Docker's media types: configuration and layers are as they lie
// in the archive, which is read once for their digests, and every layer is checked against the diff_id that
// the configuration has for it (image-spec, config.md). See archive.hpp for what is accepted as a tar file.

#include <shiplap/bytes/erased.hpp>
#include <shiplap/bytes/pipeline.hpp>
#include <shiplap/codec/decode.hpp>
#include <shiplap/digest/digest.hpp>
#include <shiplap/digest/tap.hpp>
#include <shiplap/error.hpp>
#include <shiplap/image/config.hpp>
#include <shiplap/image/json.hpp>
#include <shiplap/image/json_node.hpp>
#include <shiplap/image/manifest.hpp>
#include <shiplap/image/media_types.hpp>
#include <shiplap/image/reference.hpp>
#include <shiplap/store/archive.hpp>
#include <shiplap/store/concept.hpp>
#include <shiplap/store/graph.hpp>
#include <shiplap/store/layout_index.hpp>
#include <shiplap/store/oci_archive.hpp>

#include <array>
#include <concepts>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace shiplap {

/// A blob_reader_source.
class docker_archive_store {
  public:
    /// A replayable_source: a file of the archive, or a text that the store holds.
    class blob_reader {
      public:
        explicit blob_reader(file_window file) : from_{std::move(file)} {}
        explicit blob_reader(span_source text) : from_{text} {}
        std::size_t read(bytes_span into) {
            return std::visit([into](auto& from) { return from.read(into); }, from_);
        }
        void rewind() {
            std::visit([](auto& from) { from.rewind(); }, from_);
        }

      private:
        std::variant<file_window, span_source> from_;
    };

    /// Opens the file and reads its headers; if it has no layout, also all of its layers. Throws
    /// system_error, format_error, digest_mismatch.
    explicit docker_archive_store(std::string path) : files_{std::move(path)} {
        if (has_layout()) return;
        entries_.clear();
        read_manifest();
    }

    [[nodiscard]] bool contains(digest const& which) const {
        return texts_.contains(which) || blobs_.contains(which) ||
               files_.contains(detail::blob_member(which));
    }

    /// Reads independently of all other readers; valid as long as the store is.
    [[nodiscard]] blob_reader reader(digest const& which) const {
        if (auto const text = texts_.find(which); text != texts_.end())
            return blob_reader{span_source{text->second}};
        if (auto const file = blobs_.find(which); file != blobs_.end())
            return blob_reader{files_.open(file->second)};
        return blob_reader{files_.open(detail::blob_member(which))};
    }

    /// The images, one entry for each name.
    [[nodiscard]] std::vector<descriptor> const& entries() const noexcept { return entries_; }

    /// The image called `name`: see find_archived().
    [[nodiscard]] descriptor resolve(std::string_view name) const {
        return find_archived(entries_, name, files_.path());
    }

    [[nodiscard]] std::string const& path() const noexcept { return files_.path(); }

  private:
    struct layer_facts {
        descriptor what;
        digest diff_id; // of the algorithm that was asked for
    };

    // Docker leaves out of the layout what it does not have, such as other platforms.
    bool has_layout() {
        if (!files_.contains("oci-layout") || !files_.contains("index.json")) return false;
        entries_ = detail::read_layout_entries(files_);
        try {
            for (auto const& entry : entries_) (void)read_graph(entry, *this);
        } catch (error const& failure) {
            if (failure.code() != error_code::not_found || !files_.contains("manifest.json")) throw;
            return false;
        }
        return !entries_.empty() || !files_.contains("manifest.json");
    }

    void read_manifest() {
        if (!files_.contains("manifest.json"))
            throw format_error{"read archive", files_.path(),
                               "is no docker archive: it has no file 'manifest.json'"};
        auto const subject = files_.path() + ": manifest.json";
        auto const document = parse_json(files_.text("manifest.json"), subject);
        json_node const images{document, subject};
        for (std::size_t i = 0; i < images.length(); ++i) {
            try {
                read_image(images.item(i));
            } catch (error& failure) {
                failure.within("image " + std::to_string(i + 1) + " of manifest.json");
                throw;
            }
        }
    }

    void read_image(json_node const& image) {
        auto const config_name = image["Config"].text();
        auto const subject = files_.path() + ": " + config_name;
        auto const text = files_.text(config_name);
        auto const config = read_config(text, subject);

        image_manifest manifest{.media_type = std::string{docker_media_types::manifest},
                                .config = {.media_type = std::string{docker_media_types::config},
                                           .digest = digest::of<sha256>(as_bytes(text)),
                                           .size = text.size()}};
        check_name(config_name, manifest.config.digest);
        blobs_.insert_or_assign(manifest.config.digest, config_name);

        auto const layers = image["Layers"].texts();
        if (layers.size() != config.diff_ids.size())
            image.refuse("has " + std::to_string(layers.size()) + " layers, its configuration '" +
                         config_name + "' has " + std::to_string(config.diff_ids.size()) + " diff_ids");
        for (std::size_t i = 0; i < layers.size(); ++i)
            manifest.layers.push_back(read_layer(layers[i], config.diff_ids[i]));

        auto const content = to_text(manifest);
        descriptor root{.media_type = manifest.media_type,
                        .digest = digest::of<sha256>(as_bytes(content)),
                        .size = content.size(),
                        .platform = config.platform};
        texts_.insert_or_assign(root.digest, content);
        add_names(image, root);
    }

    void add_names(json_node const& image, descriptor const& root) {
        auto const names = image["RepoTags"].texts();
        if (names.empty()) entries_.push_back(root);
        for (auto const& name : names)
            entries_.push_back(named_entry(root, read_name(image["RepoTags"], name)));
    }

    static image_name read_name(json_node const& place, std::string const& name) {
        try {
            auto const what = reference::parse(name);
            if (!what.tag().empty() && !what.digest()) return name_of(what);
        } catch (option_error const& wrong) {
            place.refuse("'" + name + "': " + wrong.reason());
        }
        place.refuse("'" + name + "' must be a name with a tag and without a digest");
    }

    descriptor const& read_layer(std::string const& name, digest const& diff_id) {
        auto const& facts = diff_id.algorithm() == sha512::name ? layer<sha512>(name) : layer<sha256>(name);
        if (facts.diff_id != diff_id)
            throw digest_mismatch{"verify layer", files_.path() + ": " + name,
                                  "unpacked it has digest " + facts.diff_id.text() +
                                      ", the configuration says " + diff_id.text()};
        return facts.what;
    }

    // Images share layers, often under several names that link to one file: each is read once.
    template <digest_algorithm D>
    layer_facts const& layer(std::string const& name) {
        auto file = files_.open(name);
        auto const key = std::pair{file.offset(), D::name};
        if (auto const known = layers_.find(key); known != layers_.end()) return known->second;

        std::array<std::byte, 16> head{};
        auto const encoding = sniff_encoding(bytes_view{head}.first(read_fully(file, head)));
        file.rewind();
        hashed_source packed{std::move(file)};
        tap<D> plain;
        null_sink nowhere;
        bool const is_plain = encoding.empty() && std::same_as<D, sha256>; // then one hash serves for both
        try {
            if (!is_plain) {
                auto source = decode_as(encoding, any_byte_source{byte_source_ref{packed}});
                pipeline pipe{plain, nowhere};
                transfer(source, pipe);
            }
            transfer(packed, nowhere); // all, or what the decoder left
        } catch (error& failure) {
            failure.within("layer '" + printable(name) + "'");
            throw;
        }
        auto const blob = packed.hash.facts();
        layer_facts facts{{.media_type = std::string{docker_media_types::layer(encoding)},
                           .digest = blob.digest,
                           .size = blob.size},
                          is_plain ? blob.digest : plain.facts().digest};
        blobs_.insert_or_assign(blob.digest, name);
        return layers_.emplace(key, std::move(facts)).first->second;
    }

    struct hashed_source {
        file_window from;
        tap<sha256> hash{};
        std::size_t read(bytes_span into) {
            null_sink nowhere;
            auto const n = from.read(into);
            hash.write(into.first(n), nowhere);
            return n;
        }
    };

    // docker save, podman and the layout call files by their digest; Docker takes the content for it.
    void check_name(std::string_view name, digest const& actual) const {
        name = name.substr(name.rfind('/') + 1);
        if (name.ends_with(".json")) name.remove_suffix(5);
        bool const is_digest = name.size() == 64 && name.find_first_not_of("0123456789abcdef") == name.npos;
        if (is_digest && name != actual.encoded())
            throw digest_mismatch{"verify configuration", files_.path() + ": " + std::string{name},
                                  "content has digest " + actual.text()};
    }

    archive_files files_;
    std::vector<descriptor> entries_;
    std::map<digest, std::string> texts_; // manifests that were made up
    std::map<digest, std::string> blobs_; // names of files
    std::map<std::pair<std::uint64_t, std::string_view>, layer_facts> layers_;
};

} // namespace shiplap
