// The main job: inputs -> layers -> one image -> one or more outputs.

#include "command.hpp"

#include <shiplap/shiplap.hpp>

#include <nlohmann/json.hpp>

#include <cstdlib>
#include <filesystem>

#include <unistd.h>

namespace shiplap_command {

using namespace shiplap;

namespace {

any_layer_source parse_input(std::string const& input) {
    auto const after = [&](std::string_view prefix) { return input.substr(prefix.size()); };
    if (input.starts_with("dir:")) return directory_layer{after("dir:")};
    if (input == "tar:-") return tar_layer{stream_reader{STDIN_FILENO, "standard input"}, "standard input"};
    if (input.starts_with("tar:")) return tar_layer{after("tar:")};
    if (input.starts_with("diff:")) {
        auto const trees = after("diff:");
        auto const colon = trees.find(':');
        if (colon == std::string::npos || colon == 0 || colon + 1 == trees.size())
            throw option_error{"INPUT", "'" + printable(input) + "': expected diff:LOWER:UPPER, two directories"};
        return diff_layer{trees.substr(0, colon), trees.substr(colon + 1)};
    }
    std::error_code problem;
    auto const status = std::filesystem::status(input, problem);
    if (std::filesystem::is_directory(status)) return directory_layer{input};
    if (std::filesystem::is_regular_file(status) || std::filesystem::is_fifo(status)) return tar_layer{input};
    if (status.type() == std::filesystem::file_type::not_found)
        throw error{error_code::not_found, "read input", input, "no such file or directory"};
    if (problem) throw system_error{"read input", input, problem.value()};
    throw error{error_code::unsupported, "read input", input, "is neither a directory nor a tar file"};
}

std::pair<std::string, std::string> parse_pair(char const* option, std::string const& text) {
    auto const equals = text.find('=');
    if (equals == std::string::npos || equals == 0) throw option_error{option, "'" + printable(text) + "': expected KEY=VALUE"};
    return {text.substr(0, equals), text.substr(equals + 1)};
}

// A JSON array of strings, or one word.
std::vector<std::string> parse_words(char const* option, std::string const& text) {
    if (!text.starts_with('[')) return {text};
    auto const array = nlohmann::json::parse(text, nullptr, false);
    std::vector<std::string> words;
    for (auto const& word : array) {
        if (!array.is_array() || !word.is_string()) break;
        words.push_back(word.get<std::string>());
    }
    if (!array.is_array() || words.size() != array.size())
        throw option_error{option, "'" + printable(text) + "' is not a JSON array of strings, such as [\"/bin/app\",\"-v\"]"};
    return words;
}

build_result parse_build(export_arguments const& arguments) {
    build_result result;
    for (auto const& input : arguments.inputs) result.layers.push_back(parse_input(input));
    if (arguments.platform) result.platform = parse_platform(*arguments.platform);
    if (arguments.config_file) result.config = read_file(*arguments.config_file, 4 << 20);
    result.changes.env = arguments.env;
    for (auto const& label : arguments.labels) {
        auto [key, value] = parse_pair("--label", label);
        result.changes.labels.insert_or_assign(std::move(key), std::move(value));
    }
    result.changes.exposed_ports = arguments.exposed;
    if (arguments.entrypoint) result.changes.entrypoint = parse_words("--entrypoint", *arguments.entrypoint);
    if (arguments.cmd) result.changes.cmd = parse_words("--cmd", *arguments.cmd);
    result.changes.working_dir = arguments.workdir;
    result.changes.user = arguments.user;
    return result;
}

// "manifest-descriptor:key=value" -> the attribute annotation-manifest-descriptor.key
attribute annotation_attribute(std::string const& text) {
    auto const equals = text.find('=');
    if (equals == std::string::npos || equals == 0) throw option_error{"--annotation", "'" + printable(text) + "': expected KEY=VALUE"};
    auto key = text.substr(0, equals);
    std::string prefix = "annotation";
    auto const colon = key.find(':');
    if (colon != std::string::npos) {
        prefix += "-" + key.substr(0, colon);
        key.erase(0, colon + 1);
    }
    return {prefix + "." + key, text.substr(equals + 1), 0};
}

std::vector<export_spec> parse_outputs(export_arguments const& arguments, common_options const& common) {
    if (arguments.outputs.empty()) throw option_error{"--output", "is missing: say where the image goes, such as -o type=oci,dest=image.tar"};
    auto const digest = builtin_digests::named(arguments.digest);
    if (!digest) throw option_error{"--digest", "unknown algorithm '" + printable(arguments.digest) + "'; known are " + builtin_digests::names()};
    auto const* const epoch = std::getenv("SOURCE_DATE_EPOCH");

    std::vector<export_spec> specs;
    for (auto const& output : arguments.outputs) {
        auto given = parse_attributes(output);
        auto const has = [&](std::string_view key) {
            return std::find_if(given.begin(), given.end(), [&](attribute const& a) { return a.key == key; }) != given.end();
        };
        auto const is_image = detail::parse_output_type(given) != output_type::local && detail::parse_output_type(given) != output_type::tar;
        if (epoch != nullptr && !has("source-date-epoch")) given.push_back({"source-date-epoch", epoch, 0});
        if (is_image) {
            if (!has("name") && !arguments.tags.empty()) {
                std::string names;
                for (auto const& tag : arguments.tags) names += (names.empty() ? "" : ",") + tag;
                given.push_back({"name", names, 0});
            }
            for (auto const& annotation : arguments.annotations) given.push_back(annotation_attribute(annotation));
        }
        auto spec = export_spec::from(given);
        spec.digest = *digest;
        spec.store = common.store;
        if (spec.destination == "-" && ::isatty(STDOUT_FILENO) != 0)
            throw option_error{"dest", "output file is required for type=oci, docker and tar: refusing to write to a terminal; give dest=<file> or redirect"};
        specs.push_back(std::move(spec));
    }
    return specs;
}

} // namespace

void export_images(export_arguments const& arguments, common_options const& common) {
    progress_display display{parse_progress_style(common.progress)};
    auto const specs = parse_outputs(arguments, common);
    if (arguments.inputs.empty()) throw option_error{"INPUT", "is missing: name a directory or a tar file; see shiplap --help"};
    auto const result = parse_build(arguments);

    shared_pool executor{common.jobs};
    keep_timestamps timestamps;
    env_ref env;
    env.executor = executor_ref{executor};
    env.progress = progress_ref{display};
    env.timestamps = timestamps_ref{timestamps};

    metadata facts;
    for (auto const& spec : specs) {
        for (auto const& warning : spec.warnings) env.progress.warn(warning);
        auto const image = export_image(spec, result, env);
        for (auto const& warning : image.warnings) env.progress.warn(warning);
        facts.add(image);
        auto* const out = spec.destination == "-" ? stderr : stdout; // standard output may carry the image itself
        std::fprintf(out, "%s\n", image.root.digest.text().c_str());
    }
    if (arguments.metadata_file) write_file(*arguments.metadata_file, facts.text());
}

} // namespace shiplap_command
