#pragma once
// plan: all that can be decided before anything is packed: whether there will be an index, which annotations
// each manifest gets, and what contradicts what.

#include <shiplap/error.hpp>
#include <shiplap/export/result.hpp>
#include <shiplap/image/assemble.hpp>
#include <shiplap/image/media_types.hpp>

#include <string>
#include <tuple>
#include <vector>

namespace shiplap::detail {

struct export_plan {
    std::vector<image_options> images; ///< of each result
    bool as_index = false;
    std::vector<std::string> warnings;
};

inline image_options options_for(build_result const& result, export_options const& options) {
    image_options out{.platform = result.platform,
                      .config = result.config,
                      .changes = result.changes,
                      .annotations = options.annotations,
                      .descriptor_annotations = options.descriptor_annotations,
                      .epoch = options.epoch};
    if (auto const& base = result.base) {
        out.base_history = base->history;
        if (!out.config)
            out.config = result.layers.empty()
                             ? base->config
                             : inherited_config(base->config, "configuration of the base image");
    }
    if (result.kept) {
        if (!out.base_history) out.base_history.emplace(); // nothing in it is of another image
        out.indexed_as = result.kept->platform;
    }
    return out;
}

/// Whether what is said about the image of one result makes an index of it.
inline bool makes_index(build_result const& result, export_options const& options) {
    for (auto const& one : result.attestations)
        if (options.attestations_inline || !one.inline_only) return true;
    return false;
}

inline platform planned_platform(image_options const& image) {
    if (image.indexed_as) return normalised(*image.indexed_as);
    if (image.config) return checked_platform(*image.config, image.platform);
    return normalised(image.platform.value_or(host_platform()));
}

inline void assign_all(annotation_map& to, annotation_map const& from) {
    for (auto const& [key, value] : from) to.insert_or_assign(key, value);
}

/// Applies the annotations for `wanted.platform`; false if there is no such platform.
inline bool annotate_platform(export_plan& plan, std::vector<std::string> const& platforms,
                              platform_annotations const& wanted) {
    bool found = false;
    for (std::size_t i = 0; i < platforms.size(); ++i) {
        if (platforms[i] != format(normalised(wanted.platform))) continue;
        found = true;
        assign_all(plan.images[i].annotations, wanted.manifest);
        assign_all(plan.images[i].descriptor_annotations, wanted.descriptor);
    }
    return found;
}

/// Every image must have a platform, which only a lone one may take from this machine.
inline void check_platforms(std::vector<image_options> const& images) {
    for (std::size_t i = 0; i < images.size(); ++i) {
        auto const& [asked, config] = std::tie(images[i].platform, images[i].config);
        if (images.size() > 1 && !asked && !config)
            throw option_error{
                "export", "result " + std::to_string(i + 1),
                "unable to export multiple refs, missing platforms mapping: give it a platform "
                "or a configuration"};
        if (asked && (asked->os.empty() || asked->architecture.empty()))
            throw option_error{"export", "result " + std::to_string(i + 1),
                               "invalid platform value '" + printable(format(*asked)) +
                                   "': it needs an os and an architecture, as in linux/arm64"};
        if (config) static_cast<void>(planned_platform(images[i])); // throws for one that is none
    }
}

/// The annotations of `wanted` have no place: names each.
inline void warn_left_out(export_plan& plan, platform_annotations const& wanted, std::string const& reason) {
    for (auto const* annotations : {&wanted.manifest, &wanted.descriptor})
        for (auto const& [key, value] : *annotations)
            plan.warnings.push_back("annotation " + printable(key) + " is for platform " +
                                    format(wanted.platform) + reason + ", so it is left out");
}

/// Adds what the image has and what nothing else was said of.
inline void keep_annotations(export_plan& plan, image_options& image, kept_facts const& kept,
                             media_type_table const& types) {
    image.annotations.insert(kept.annotations.begin(), kept.annotations.end());
    if (types.layer_annotations)
        image.descriptor_annotations.insert(kept.descriptor_annotations.begin(),
                                            kept.descriptor_annotations.end());
    else if (!kept.descriptor_annotations.empty())
        plan.warnings.push_back("Docker's media types have no place for the annotations of the image for " +
                                format(planned_platform(image)) + " in its index: they are left out");
}

/// Throws option_error for what cannot be exported like that.
inline export_plan plan_export(export_input const& input, export_options const& options,
                               media_type_table const& types) {
    export_plan plan;
    if (input.results.empty())
        throw option_error{"export", "", "invalid empty platforms index for exporter: there is no result"};
    for (auto const& result : input.results) plan.images.push_back(options_for(result, options));
    check_platforms(plan.images);
    bool const has_attestations = [&] {
        for (auto const& result : input.results)
            if (input.is_list ? !result.attestations.empty() : makes_index(result, options)) return true;
        return false;
    }();
    plan.as_index = input.is_list || has_attestations;
    if (has_attestations && types.index != oci_media_types::index)
        throw option_error{"oci-mediatypes", "cannot export attestations with \"oci-mediatypes=false\""};

    if (!plan.as_index) {
        if (!options.index_annotations.empty() || !options.index_descriptor_annotations.empty())
            throw option_error{"annotation", "index annotations not supported for single platform export"};
        for (auto const& wanted : options.for_platforms)
            warn_left_out(plan, wanted, " of a multi-platform image; this one has a single manifest");
    } else {
        std::vector<std::string> platforms;
        for (auto const& image : plan.images) {
            platforms.push_back(format(planned_platform(image)));
            for (std::size_t i = 0; i + 1 < platforms.size(); ++i)
                if (platforms[i] == platforms.back())
                    plan.warnings.push_back("the platform " + platforms[i] +
                                            " is there twice; readers will take the first one");
        }
        for (auto const& wanted : options.for_platforms) {
            if (annotate_platform(plan, platforms, wanted)) continue;
            if (platforms.size() > 1)
                throw option_error{"annotation", "invalid annotation: no platform " +
                                                     format(normalised(wanted.platform)) +
                                                     " found in source"};
            warn_left_out(plan, wanted, ", which is not that of this image");
        }
    }
    for (std::size_t i = 0; i < plan.images.size(); ++i) {
        auto& image = plan.images[i];
        assign_all(image.annotations, input.results[i].annotations);
        if (auto const& kept = input.results[i].kept) keep_annotations(plan, image, *kept, types);
    }
    return plan;
}

} // namespace shiplap::detail
