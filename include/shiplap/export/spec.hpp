#pragma once
// spec: what one --output asks for, as a plain struct with every default applied and every conflict found,
// before anything is read or written. Option by option it follows the image exporter of BuildKit; where it
// differs the README says so under "Deviations".

#include <shiplap/codec/level.hpp>
#include <shiplap/export/attributes.hpp>
#include <shiplap/export/option_values.hpp>
#include <shiplap/export/policies.hpp>
#include <shiplap/export/result.hpp>
#include <shiplap/image/reference.hpp>

#include <range/v3/algorithm/find.hpp>
#include <range/v3/algorithm/min_element.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace shiplap {

enum class output_type {
    image = 1,  ///< the local image store, and with push=true registries
    oci = 2,    ///< an OCI archive, or with tar=false an OCI layout
    docker = 4, ///< an archive for `docker load`, or with tar=false an OCI layout with Docker's media types
    local = 8,  ///< the image's files in a directory
    tar = 16,   ///< the image's files in one tar
};

struct export_spec {
    output_type type = output_type::image;
    std::string destination;      ///< a path; "-" is standard output; empty for type=image
    bool tar = true;              ///< false: a layout directory
    std::vector<reference> names; ///< with the tag "latest" where they have none, unless pushed by digest
    bool names_of_build = false;  ///< name=*: what is exported says how it is called
    bool push = false;            ///< to the registries of all names
    bool push_by_digest = false;  ///< without setting tags
    bool insecure = false;        ///< registries may speak plain HTTP or show any certificate
    std::optional<bool> keep;     ///< in the local image store; none: if that needs no download
    bool unpack = false;          ///< below the local image store, for this machine's platform
    std::string dangling_prefix;  ///< adds the name <prefix>@<digest>; empty: none
    bool dangling_only_unnamed = false; ///< only if there is no other name
    bool canonical_names = false;       ///< the store also knows it as <name>@<digest>
    builtin_codecs::variant codec = any_gzip{};
    bool compression_asked = false;       ///< `codec` is not the default
    bool force_compression = false;       ///< also repack layers that come as blobs
    bool prefer_nondistributable = false; ///< keep layers that name URLs out of registries
    bool oci_types = false;               ///< OCI media types, else Docker's
    bool docker_types_asked = false;      ///< Docker's were asked for; otherwise attestations take OCI's
    annotation_map annotations;           ///< of every manifest
    annotation_map descriptor_annotations;
    std::vector<platform_annotations>
        for_platforms; ///< of the manifest of one platform, and of its descriptor
    annotation_map index_annotations, index_descriptor_annotations;
    attestation_form attestations_as = attestation_form::image;
    bool attestations_inline = false;  ///< attestations that are inline_only count, too
    std::optional<std::int64_t> epoch; ///< seconds since 1970: latest time in config and history
    bool rewrite_timestamps = false;   ///< clamp times inside the layers to `epoch` as well
    std::optional<std::string> config; ///< JSON of the image configuration to start from
    builtin_digests::variant digest = sha256{};
    std::string store; ///< folder of the local image store, for type=image; empty: default_store()
    std::vector<std::string> warnings; ///< accepted, but the user should know

    /// Checks and completes parsed attributes. `backends` are those that compression-variant can choose, at
    /// least one; the first is the default of gzip and estargz. Throws option_error; the message names the option.
    static export_spec from(attributes const& given,
                            std::vector<any_backend> const& backends = {zlib_backend{}});

    /// With the names that `what` brings in the place of `*`, if that was asked for. Throws option_error if it
    /// brings none.
    [[nodiscard]] export_spec named_after(export_input const& what) const;
};

namespace detail {

/// Completes names and checks that they fit the other options.
inline void complete_names(export_spec& spec) {
    for (auto& name : spec.names) {
        if (spec.push_by_digest && (!name.tag().empty() || name.digest()))
            throw option_error{"push-by-digest",
                               "can't push tagged ref " + name.text() + " by digest; leave the tag out"};
        if (!spec.push_by_digest) name = name.with_default_tag();
    }
}

/// Collects the attributes of one output; finish() draws the conclusions that need all of them.
class spec_builder {
  public:
    spec_builder(output_type type, std::vector<any_backend> const& backends) : backends_{backends} {
        spec_.type = type;
    }

    void apply(attribute const& given) {
        if (given.key == "type") return;
        if (auto const annotation = parse_annotation_key(given.key)) {
            if (!is_image()) refuse_for_type(given, images);
            annotate(*annotation, given.value);
            return;
        }
        auto const rule = ranges::find(rules, given.key, &option_rule::name);
        if (rule == rules.end() && given.key.substr(0, given.key.find_first_of(".[-")) == "annotation")
            throw option_error{given.key,
                               "at position " + std::to_string(given.position) +
                                   " is no annotation: expected annotation[-TYPE][[PLATFORM]].KEY, "
                                   "with a KEY that has no spaces"};
        if (rule == rules.end())
            throw option_error{given.key, "unknown option at position " + std::to_string(given.position) +
                                              "; the nearest known one is '" + nearest(given.key) + "'"};
        if ((rule->types & static_cast<unsigned>(spec_.type)) == 0) refuse_for_type(given, rule->types);
        (this->*rule->apply)(given.key, given.value);
    }

    export_spec finish() {
        choose_codec();
        choose_media_types();
        choose_names();
        choose_unpacking();
        if (spec_.keep == false && !spec_.push)
            spec_.warnings.emplace_back("store=false without push=true: the image is made and goes nowhere");
        if (spec_.type == output_type::oci && oci_types_ == false)
            spec_.warnings.emplace_back(
                "oci-mediatypes=false has no effect: type=oci has OCI's, type=docker Docker's");
        if (spec_.type == output_type::local && (spec_.destination.empty() || spec_.destination == "-"))
            throw option_error{"dest", "type=local needs dest=<directory>"};
        if (spec_.destination.empty() && spec_.type != output_type::image) {
            if (!spec_.tar) throw option_error{"dest", "tar=false needs dest=<directory>"};
            spec_.destination = "-";
        }
        if (!spec_.tar && spec_.destination == "-")
            throw option_error{"dest", "a layout directory (tar=false) cannot go to standard output"};
        if (spec_.rewrite_timestamps && !spec_.epoch)
            throw option_error{"rewrite-timestamp",
                               "needs an epoch: give source-date-epoch=<seconds> or set SOURCE_DATE_EPOCH"};
        return std::move(spec_);
    }

  private:
    using handler = void (spec_builder::*)(std::string const& key, std::string const& value);
    struct option_rule {
        std::string_view name;
        unsigned types; // a set of output_type
        handler apply;
    };
    static constexpr unsigned image = 1, archives = 2 | 4, images = image | archives, files = 8 | 16,
                              all = images | files;
    static std::array<option_rule, 25> const rules;

    [[nodiscard]] bool is_image() const { return (static_cast<unsigned>(spec_.type) & images) != 0; }

    /// A boolean of the spec, and one that finish() draws conclusions from; an empty value means true, or is an error.
    template <auto Member>
    void set(std::string const& key, std::string const& value) {
        spec_.*Member = parse_bool(key, value, empty_bool::means_true);
    }
    template <auto Member>
    void set_strictly(std::string const& key, std::string const& value) {
        auto const given = parse_bool(key, value, empty_bool::is_error);
        if constexpr (requires { spec_.*Member = given; })
            spec_.*Member = given;
        else
            this->*Member = given;
    }

    void set_destination(std::string const& key, std::string const& value) {
        if (value.empty()) throw option_error{key, "is empty; give a path, or '-' for standard output"};
        spec_.destination = value;
    }
    static reference parse_name(std::string const& key, std::string const& name) {
        try {
            return reference::parse(name);
        } catch (error const& failure) {
            throw option_error{key, "failed to parse " + printable(name) + ": " + failure.reason()};
        }
    }
    void set_names(std::string const& key, std::string const& value) {
        spec_.names.clear();
        spec_.names_of_build = value == "*";
        if (value.empty() || spec_.names_of_build) return;
        for (std::size_t start = 0; start <= value.size();) {
            auto const end = std::min(value.find(',', start), value.size());
            spec_.names.push_back(parse_name(key, value.substr(start, end - start)));
            start = end + 1;
        }
    }
    void set_dangling(std::string const& key, std::string const& value) {
        if (!value.empty())
            if (auto const prefix = reference::parse(value); !prefix.tag().empty() || prefix.digest())
                throw option_error{key,
                                   "'" + printable(value) +
                                       "' must be a name without tag and digest: @<digest> is put behind it"};
        spec_.dangling_prefix = value;
    }
    void set_compression(std::string const& key, std::string const& value) {
        auto const found = builtin_codecs::named(value);
        if (!found)
            throw option_error{key, "unsupported compression type " + printable(value) + "; known are " +
                                        builtin_codecs::names()};
        spec_.codec = *found;
        spec_.compression_asked = true;
    }
    void set_variant(std::string const& key, std::string const& value) {
        std::string known;
        for (auto const& one : backends_) {
            if (one.name == value) variant_ = one;
            known += (known.empty() ? "" : ", ") + std::string{one.name};
        }
        if (!variant_ || variant_->name != value)
            throw option_error{key, "unsupported compression variant " + printable(value) + "; known are " +
                                        known};
    }
    void set_level(std::string const& key, std::string const& value) {
        level_ = parse_integer(value);
        if (!level_)
            throw option_error{key, "non-integer value " + printable(value) +
                                        " specified for compression-level; give a whole number"};
    }
    void set_force(std::string const& key, std::string const& value) {
        try {
            spec_.force_compression = parse_bool(key, value, empty_bool::means_true);
        } catch (option_error const&) {
            throw option_error{key, "non-bool value " + printable(value) +
                                        " specified for force-compression; use true or false"};
        }
    }
    void set_compatibility(std::string const& key, std::string const& value) {
        auto const number = parse_integer(value);
        if (!number || (*number != 10 && *number != 20 && *number != 30))
            throw option_error{key, "unsupported compatibility-version " + printable(value) +
                                        "; known are 10, 20, 30"};
        compatibility_ = static_cast<int>(*number);
    }
    void set_epoch(std::string const& key, std::string const& value) {
        spec_.epoch.reset(); // an empty value says: no epoch, whatever the environment says
        if (value.empty()) return;
        spec_.epoch = parse_integer(value);
        if (!spec_.epoch)
            throw option_error{key, "invalid source-date-epoch " + printable(value) +
                                        "; give whole seconds since 1970-01-01T00:00:00Z"};
    }
    void set_config(std::string const& key, std::string const& value) {
        try {
            static_cast<void>(platform_of_config(value, "value"));
        } catch (error const& failure) {
            throw option_error{key, failure.what()};
        }
        spec_.config = value;
    }

    void annotate(annotation_key const& to, std::string const& value) {
        if (to.type != "manifest" && to.type != "manifest-descriptor" && to.type != "index" &&
            to.type != "index-descriptor")
            throw option_error{"annotation",
                               "unrecognized annotation type " + printable(to.type) +
                                   "; known are manifest, manifest-descriptor, index, index-descriptor"};
        annotated_ = true;
        if (to.type != "manifest") needs_oci_annotations_ = true;
        if (to.type == "index") {
            spec_.index_annotations[to.key] = value; // of which there is one: a platform selects nothing
        } else if (to.type == "index-descriptor") {
            spec_.index_descriptor_annotations[to.key] = value;
        } else if (to.platform.empty()) {
            (to.type == "manifest" ? spec_.annotations : spec_.descriptor_annotations)[to.key] = value;
        } else {
            auto& one = annotations_for(parse_platform(to.platform));
            (to.type == "manifest" ? one.manifest : one.descriptor)[to.key] = value;
        }
    }

    platform_annotations& annotations_for(platform const& wanted) {
        for (auto& one : spec_.for_platforms)
            if (one.platform == wanted) return one;
        return spec_.for_platforms.emplace_back(platform_annotations{.platform = wanted});
    }

    void choose_codec() {
        // The files are what counts there: nothing is won by packing them on the way.
        if (!is_image()) spec_.codec = uncompressed{};
        std::visit(
            [this](auto& codec) {
                using chosen = std::remove_reference_t<decltype(codec)>;
                if constexpr (requires { codec.backend; })
                    codec.backend = variant_.value_or(backends_.front());
                else if (variant_)
                    spec_.warnings.emplace_back("compression-variant has no effect on compression=" +
                                                std::string{chosen::name});
                if (!level_) return;
                codec.level = static_cast<int>(std::clamp<std::int64_t>(*level_, -1'000'000, 1'000'000));
                check_level(codec);
                if constexpr (std::same_as<chosen, uncompressed>)
                    spec_.warnings.emplace_back(
                        "compression-level has no effect on compression=uncompressed");
            },
            spec_.codec);
    }

    void choose_names() {
        complete_names(spec_);
        bool const is_named = !spec_.names.empty() || spec_.names_of_build;
        if (spec_.push && !is_named && spec_.dangling_prefix.empty())
            throw option_error{"push", "needs a name: give name=<registry>/<repository>:<tag>, or --tag"};
        if (is_named && spec_.dangling_only_unnamed) spec_.dangling_prefix.clear();
        if (!is_named) spec_.canonical_names = false;
    }

    void choose_unpacking() {
        if (!spec_.unpack) return;
        if (spec_.keep == false)
            throw option_error{"unpack",
                               "needs the image in the local image store; do not give store=false with it"};
        if (spec_.rewrite_timestamps &&
            !(spec_.names.empty() && !spec_.names_of_build && spec_.dangling_prefix.empty()))
            throw option_error{"unpack", "exporter option \"rewrite-timestamp\" conflicts with \"unpack\""};
        spec_.keep = true;
    }

    void choose_media_types() {
        bool const is_estargz = std::holds_alternative<any_estargz>(spec_.codec),
                   is_zstd = std::holds_alternative<zstd>(spec_.codec);
        if (compatibility_ == 10 && is_zstd)
            throw option_error{
                "compression",
                "unsupported feature with compatibility-version=10: image exporter compression=zstd"};
        if (spec_.type == output_type::oci) {
            spec_.oci_types = true;
        } else if (oci_types_) {
            spec_.oci_types = *oci_types_;
        } else {
            spec_.oci_types =
                compatibility_ == 30 || is_estargz || is_zstd || annotated_ || oci_artifact_ == true;
        }
        if (!spec_.oci_types) {
            if (is_estargz) conflict("compression=estargz");
            if (oci_artifact_ == true) conflict("oci-artifact=true");
            if (needs_oci_annotations_)
                throw option_error{"oci-mediatypes",
                                   "cannot export annotations with \"oci-mediatypes=false\""};
        }
        spec_.docker_types_asked = !spec_.oci_types && oci_types_;
        bool const as_artifact = oci_artifact_.value_or(compatibility_ == 30 && spec_.oci_types);
        spec_.attestations_as = as_artifact ? attestation_form::artifact : attestation_form::image;
        spec_.attestations_inline = attestations_inline_.value_or(spec_.type == output_type::image);
    }

    [[noreturn]] static void conflict(std::string const& option) {
        throw option_error{"oci-mediatypes",
                           "exporter option \"" + option + "\" conflicts with \"oci-mediatypes=false\""};
    }

    [[noreturn]] static void refuse_for_type(attribute const& given, unsigned types) {
        if (given.key == "dest")
            throw option_error{given.key, "output " + printable(given.value) +
                                              " is not supported by image exporter; a file is made by "
                                              "type=oci, docker or tar"};
        std::string meant;
        for (auto const& [type, name] : std::array<std::pair<unsigned, char const*>, 5>{
                 {{1, "image or registry"}, {2, "oci"}, {4, "docker"}, {8, "local"}, {16, "tar"}}})
            if ((types & type) != 0) meant += (meant.empty() ? "" : ", ") + std::string{name};
        throw option_error{given.key, "at position " + std::to_string(given.position) +
                                          " has no meaning for this type of output, only for type=" + meant};
    }

    [[nodiscard]] static std::string nearest(std::string_view key) {
        auto const best = ranges::min_element(
            rules, {}, [key](option_rule const& rule) { return edit_distance(key, rule.name); });
        if (auto const dot = key.find('.'); dot != std::string_view::npos) {
            constexpr std::string_view annotation = "annotation";
            if (edit_distance(key.substr(0, dot), annotation) < edit_distance(key, best->name))
                return std::string{annotation} + std::string{key.substr(dot)};
        }
        return std::string{best->name};
    }

    export_spec spec_;
    std::vector<any_backend> const& backends_;
    std::optional<any_backend> variant_;
    std::optional<std::int64_t> level_;
    std::optional<bool> oci_types_, oci_artifact_, attestations_inline_;
    std::optional<int> compatibility_;
    bool annotated_ = false, needs_oci_annotations_ = false;
};

inline constexpr std::array<spec_builder::option_rule, 25> spec_builder::rules{{
    {"type", all, nullptr},
    {"dest", archives | files, &spec_builder::set_destination},
    {"tar", archives, &spec_builder::set<&export_spec::tar>},
    {"name", images, &spec_builder::set_names},
    {"push", image, &spec_builder::set<&export_spec::push>},
    {"push-by-digest", image, &spec_builder::set<&export_spec::push_by_digest>},
    {"registry.insecure", image, &spec_builder::set<&export_spec::insecure>},
    {"store", image, &spec_builder::set<&export_spec::keep>},
    {"unpack", image, &spec_builder::set<&export_spec::unpack>},
    {"dangling-name-prefix", image, &spec_builder::set_dangling},
    {"dangling-name-empty-only", image, &spec_builder::set<&export_spec::dangling_only_unnamed>},
    {"danging-name-empty-only", image,
     &spec_builder::set<&export_spec::dangling_only_unnamed>}, // as it was once spelt
    {"name-canonical", image, &spec_builder::set<&export_spec::canonical_names>},
    {"compression", images, &spec_builder::set_compression},
    {"compression-level", images, &spec_builder::set_level},
    {"compression-variant", images, &spec_builder::set_variant},
    {"force-compression", images, &spec_builder::set_force},
    {"prefer-nondist-layers", images, &spec_builder::set_strictly<&export_spec::prefer_nondistributable>},
    {"oci-mediatypes", images, &spec_builder::set_strictly<&spec_builder::oci_types_>},
    {"oci-artifact", images, &spec_builder::set_strictly<&spec_builder::oci_artifact_>},
    {"attestation-inline", images, &spec_builder::set_strictly<&spec_builder::attestations_inline_>},
    {"compatibility-version", images, &spec_builder::set_compatibility},
    {"source-date-epoch", all, &spec_builder::set_epoch},
    {"rewrite-timestamp", all, &spec_builder::set_strictly<&export_spec::rewrite_timestamps>},
    {"containerimage.config", images, &spec_builder::set_config},
}};

/// The type that counts: the last one. Null if there is none.
inline attribute const* type_of(attributes const& given) {
    attribute const* last = nullptr;
    for (auto const& one : given)
        if (one.key == "type") last = &one;
    return last;
}

/// type=registry is type=image,push=true.
inline bool is_registry(attributes const& given) {
    auto const* const type = type_of(given);
    return type != nullptr && type->value == "registry";
}

inline output_type parse_output_type(attributes const& given) {
    auto const* const last = type_of(given);
    if (last == nullptr) {
        for (auto const& one : given)
            if (edit_distance(one.key, "type") <= 2)
                throw option_error{one.key,
                                   "unknown option at position " + std::to_string(one.position) +
                                       "; the nearest known one is 'type': --output requires type=<type>"};
        throw option_error{"type",
                           "--output requires type=<type>: image, registry, oci, docker, local or tar"};
    }
    if (last->value == "image" || last->value == "registry") return output_type::image;
    if (last->value == "oci") return output_type::oci;
    if (last->value == "docker") return output_type::docker;
    if (last->value == "local") return output_type::local;
    if (last->value == "tar") return output_type::tar;
    throw option_error{"type",
                       "exporter \"" + printable(last->value) +
                           "\" could not be found; known are image, registry, oci, docker, local, tar"};
}

} // namespace detail

inline export_spec export_spec::from(attributes const& given, std::vector<any_backend> const& backends) {
    detail::spec_builder builder{detail::parse_output_type(given), backends};
    for (auto const& attribute : given) builder.apply(attribute);
    if (detail::is_registry(given)) builder.apply({"push", "true"});
    return builder.finish();
}

inline export_spec export_spec::named_after(export_input const& what) const {
    auto out = *this;
    if (!names_of_build) return out;
    for (auto const& result : what.results)
        for (auto const& text : result.names) {
            auto name = reference::parse(text);
            if (ranges::find(out.names, name.text(), &reference::text) == out.names.end())
                out.names.push_back(std::move(name));
        }
    if (out.names.empty())
        throw option_error{"name",
                           "* stands for the names that the build or image brings, and it brings none; "
                           "give name=<name>:<tag>, or for an export --tag"};
    out.names_of_build = false;
    detail::complete_names(out);
    return out;
}

} // namespace shiplap
