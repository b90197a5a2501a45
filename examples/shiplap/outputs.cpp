#include "outputs.hpp"

#include <shiplap/codec/isal_backend.hpp>
#include <shiplap/codec/libdeflate_backend.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include <unistd.h>

namespace shiplap_command {

using namespace shiplap;

// All of these end up in JSON, which is UTF-8.
std::string const& checked(char const* option, std::string const& text) {
    try {
        static_cast<void>(nlohmann::json(text).dump());
    } catch (nlohmann::json::type_error const&) {
        throw option_error{option, "'" + printable(text) + "' is not UTF-8"};
    }
    return text;
}

namespace {

// The first is the default: the fastest that packs as far as the original exporters do.
std::vector<any_backend> const backends{libdeflate_backend{}, zlib_backend{}, isal_backend{}};

// As buildx has it: "manifest,manifest-descriptor[linux/amd64]:key=value" stands for the attributes annotation-manifest.key
// and annotation-manifest-descriptor[linux/amd64].key, a plain "key=value" for annotation.key.
void add_annotation(attributes& given, std::string const& text) {
    auto const refuse = [&] {
        throw option_error{"--annotation", "'" + printable(text) +
                                               "': expected [TYPE[,TYPE...]:]KEY=VALUE with types such as "
                                               "manifest or index-descriptor, each for "
                                               "all platforms or, as manifest[linux/arm64], for one"};
    };
    auto const equals = text.find('=');
    if (equals == std::string::npos) refuse();
    auto const left = text.substr(0, equals), value = text.substr(equals + 1);
    auto const colon = left.find(':');
    auto const key = colon == std::string::npos ? left : left.substr(colon + 1);
    auto types = colon == std::string::npos ? "" : left.substr(0, colon) + ",";
    do {
        auto const comma = types.find(',');
        attribute one{"annotation" + (types.empty() ? "" : "-" + types.substr(0, comma)) + "." + key, value,
                      0};
        if (!detail::parse_annotation_key(one.key)) refuse();
        given.push_back(std::move(one));
        types.erase(0, comma == std::string::npos ? comma : comma + 1);
    } while (!types.empty());
}

bool makes_an_image(attributes const& given) {
    auto const type = detail::parse_output_type(given);
    return type != output_type::local && type != output_type::tar;
}

// Where a file can later be published; that it cannot shall be known before the work.
std::optional<staged_file> stage(std::optional<std::string> const& path) {
    if (!path) return std::nullopt;
    if (std::error_code ignored; std::filesystem::is_directory(*path, ignored))
        throw system_error{"write", *path, EISDIR};
    return staged_file{detail::parent_of(*path)};
}

} // namespace

std::vector<export_spec> parse_outputs(output_arguments const& arguments, common_options const& common) {
    if (arguments.outputs.empty())
        throw option_error{"--output",
                           "is missing: say where the image goes, such as -o type=oci,dest=image.tar"};
    auto const digest = builtin_digests::named(arguments.digest);
    if (!digest)
        throw option_error{"--digest", "unknown algorithm '" + printable(arguments.digest) + "'; known are " +
                                           builtin_digests::names()};
    auto const* const epoch =
        std::getenv("SOURCE_DATE_EPOCH"); // NOLINT(concurrency-mt-unsafe): nothing here sets variables
    std::string tags;
    for (auto const& tag : arguments.tags) {
        if (tag.empty()) throw option_error{"--tag", "is empty; give a name such as example.com/app:1"};
        tags += (tags.empty() ? "" : ",") + tag;
    }

    std::vector<export_spec> specs;
    for (auto const& output : arguments.outputs) {
        auto given = parse_attributes(output);
        auto const has = [&](std::string_view key) {
            return std::find_if(given.begin(), given.end(),
                                [&](attribute const& a) { return a.key == key; }) != given.end();
        };
        if (epoch != nullptr && !has("source-date-epoch")) given.push_back({"source-date-epoch", epoch, 0});
        bool unused_tags = false;
        if (makes_an_image(given)) {
            unused_tags = !tags.empty() && has("name");
            if (!tags.empty() && !has("name")) given.push_back({"name", tags, 0});
            for (auto const& annotation : arguments.annotations) add_annotation(given, annotation);
        }
        for (auto const& one : given)
            if (one.key.starts_with("annotation")) checked(one.key.c_str(), one.key + "=" + one.value);
        auto spec = export_spec::from(given, backends);
        spec.digest = *digest;
        spec.store = common.store;
        if (unused_tags && !spec.names_of_build)
            spec.warnings.push_back("--tag " + tags +
                                    " does not count for an output that has a name= of its own");
        specs.push_back(std::move(spec));
    }

    auto const to_stdout = std::count_if(specs.begin(), specs.end(),
                                         [](export_spec const& spec) { return spec.destination == "-"; });
    if (to_stdout > 1)
        throw option_error{"dest", "only one output can go to standard output; give the others dest=<file>"};
    if (to_stdout == 1 && ::isatty(STDOUT_FILENO) != 0)
        throw option_error{"dest", "output file is required for type=oci, docker and tar: refusing to write "
                                   "to a terminal; give dest=<file> or redirect"};
    return specs;
}

void export_to_all(std::vector<export_spec> const& specs, export_input const& what,
                   output_arguments const& arguments, export_env_of_command& env) {
    for (auto const& spec : specs) check_export(spec, what);

    metadata facts;
    auto staged = stage(arguments.metadata_file);
    bool const to_stdout = std::any_of(specs.begin(), specs.end(),
                                       [](export_spec const& spec) { return spec.destination == "-"; });
    for (auto const& spec : specs)
        for (auto const& warning : spec.warnings) env.progress.warn(warning);
    for (auto const& image : export_images(specs, what, env)) {
        for (auto const& warning : image.warnings) env.progress.warn(warning);
        facts.add(image);
        auto* const out = to_stdout ? stderr : stdout; // standard output carries an image itself
        std::fprintf(out, "%s\n", image.root.digest.text().c_str());
    }
    if (!staged) return;
    staged->write(as_bytes(facts.text()));
    staged->publish(*arguments.metadata_file, 0644);
}

} // namespace shiplap_command
