#pragma once
// metadata: what an export made, as the JSON object that build tools read from --metadata-file.
//
//   containerimage.digest           digest of the root: a manifest or an index
//   containerimage.config.digest    digest of the configuration, which Docker calls the image id; absent for an
//                                   index, below which there may be several
//   containerimage.descriptor       the root's descriptor
//   image.name                      comma-separated, normalised; absent without a name
//
// Several outputs of one run go into one object; a later one overwrites the keys of an earlier one.

#include <shiplap/export/exporter.hpp>
#include <shiplap/image/descriptor.hpp>
#include <shiplap/image/json.hpp>

#include <string>

namespace shiplap {

class metadata {
  public:
    void add(exported_image const& image) {
        set("containerimage.digest", detail::json_text(image.root.digest.text()));
        if (is_manifest_type(image.root.media_type))
            set("containerimage.config.digest", detail::json_text(image.config.digest.text()));
        set("containerimage.descriptor", to_json(image.root));
        std::string names;
        for (auto const& name : image.names) names += (names.empty() ? "" : ",") + name;
        if (!names.empty()) set("image.name", detail::json_text(names));
    }

    /// Indented JSON.
    [[nodiscard]] std::string text() const { return pretty(object_); }

  private:
    void set(std::string_view key, json value) { detail::member(object_, key) = std::move(value); }

    json object_ = detail::empty_object();
};

} // namespace shiplap
