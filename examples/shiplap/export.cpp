// The main job: inputs -> layers -> one image -> one or more outputs.

#include <shiplap/shiplap.hpp>

#include "command.hpp"
#include "interruption.hpp"
#include "outputs.hpp"
#include "transports.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cerrno>
#include <filesystem>

#include <fcntl.h>
#include <unistd.h>

namespace shiplap_command {

using namespace shiplap;

namespace {

any_layer_source stream_layer(unique_fd fd, std::string const& name) {
    if (!fd) throw system_error{"read", name, errno};
    return tar_layer{interruptible_input{std::move(fd), name}, name};
}

// A named pipe is opened without waiting for its writer; the reading waits, and can be interrupted.
any_layer_source tar_input(std::string const& path) {
    std::error_code ignored; // the reading will tell what is wrong
    if (!std::filesystem::is_fifo(path, ignored)) return tar_layer{path};
    auto pipe = detail::open_file(path, O_RDONLY | O_NONBLOCK);
    ::fcntl(pipe.get(), F_SETFL, O_RDONLY);
    return stream_layer(std::move(pipe), path);
}

any_layer_source parse_input(std::string const& input) {
    auto const after = [&](std::string_view prefix) { return input.substr(prefix.size()); };
    if (input.starts_with("dir:")) return directory_layer{after("dir:")};
    if (input == "tar:-")
        return stream_layer(unique_fd{::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0)}, "standard input");
    if (input.starts_with("tar:")) return tar_input(after("tar:"));
    if (input.starts_with("diff:")) {
        auto const trees = after("diff:");
        auto const colon = trees.find(':');
        if (colon == std::string::npos || colon == 0 || colon + 1 == trees.size())
            throw option_error{"INPUT",
                               "'" + printable(input) + "': expected diff:LOWER:UPPER, two directories"};
        return diff_layer{trees.substr(0, colon), trees.substr(colon + 1)};
    }
    if (input.empty()) throw option_error{"INPUT", "is empty; name a directory or a tar file"};
    std::error_code problem;
    auto const status = std::filesystem::status(input, problem);
    if (std::filesystem::is_directory(status)) return directory_layer{input};
    if (std::filesystem::is_regular_file(status) || std::filesystem::is_fifo(status)) return tar_input(input);
    if (status.type() == std::filesystem::file_type::not_found)
        throw error{error_code::not_found, "read input", input, "no such file or directory"};
    if (problem) throw system_error{"read input", input, problem.value()};
    throw error{error_code::unsupported, "read input", input, "is neither a directory nor a tar file"};
}

void parse_inputs(std::vector<std::string> const& inputs, std::vector<any_layer_source>& layers) {
    for (auto const& text : inputs) layers.emplace_back(interruptible_layer{parse_input(text)});
}

bool is_read_from_input(export_arguments const& arguments) {
    auto const among = [](std::vector<std::string> const& inputs) {
        return std::find(inputs.begin(), inputs.end(), "tar:-") != inputs.end();
    };
    return among(arguments.inputs) || std::any_of(arguments.platforms.begin(), arguments.platforms.end(),
                                                  [&](auto const& one) { return among(one.inputs); });
}

// type=TYPE,file=FILE[,inline-only=BOOL]
void parse_attestations(std::vector<std::string> const& texts, std::vector<attestation>& attestations) {
    for (auto const& text : texts) {
        std::string type, file;
        bool inline_only = false;
        for (auto const& one : parse_attributes(text)) {
            if (one.key == "type")
                type = predicate_type_named(one.value);
            else if (one.key == "file")
                file = one.value;
            else if (one.key == "inline-only")
                inline_only = detail::parse_bool(one.key, one.value, detail::empty_bool::means_true);
            else
                throw option_error{"--attest", "unknown key '" + printable(one.key) +
                                                   "'; known are type, file and inline-only"};
        }
        if (file.empty())
            throw option_error{"--attest", "'" + printable(text) + "' names no file: add file=FILE"};
        for (auto& one : read_attestations(file, type)) {
            one.inline_only = inline_only;
            attestations.push_back(std::move(one));
        }
    }
}

std::pair<std::string, std::string> parse_pair(char const* option, std::string const& text) {
    auto const equals = text.find('=');
    if (equals == std::string::npos || equals == 0)
        throw option_error{option, "'" + printable(text) + "': expected KEY=VALUE"};
    return {text.substr(0, equals), text.substr(equals + 1)};
}

// A JSON array of strings, or one word; an empty one stands for no words.
std::vector<std::string> parse_words(char const* option, std::string const& text) {
    if (text.empty()) return {};
    if (!text.starts_with('[')) return {text};
    auto const array = nlohmann::json::parse(text, nullptr, false);
    std::vector<std::string> words;
    for (auto const& word : array) {
        if (!array.is_array() || !word.is_string()) break;
        words.push_back(word.get<std::string>());
    }
    if (!array.is_array() || words.size() != array.size())
        throw option_error{option, "'" + printable(text) +
                                       "' is not a JSON array of strings, such as [\"/bin/app\",\"-v\"]"};
    return words;
}

/// An image that a build needs, and where it lies, which outlives what is read of it.
struct needed_image {
    location where;
    image_source source;
};

location parse_base(char const* option, std::string const& text, export_arguments const& arguments,
                    common_options const& common) {
    auto where = parse_location(option, text, common.store);
    if (where.path == "-" && is_read_from_input(arguments))
        throw option_error{option, "standard input cannot be both the base image and the INPUT tar:-"};
    if (where.transport == "rootfs")
        throw option_error{option, "a root file system is no image; give it as the first INPUT: dir:" +
                                       printable(where.path)};
    return where;
}

// That of --from, and the two of --rebase.
std::vector<location> parse_bases(export_arguments const& arguments, common_options const& common) {
    std::vector<location> out;
    if (arguments.from) out.push_back(parse_base("--from", *arguments.from, arguments, common));
    if (arguments.rebase.empty()) return out;
    if (!arguments.from)
        throw option_error{"--rebase", "needs --from IMAGE, the image that is built upon OLD"};
    for (auto const& text : arguments.rebase) out.push_back(parse_base("--rebase", text, arguments, common));
    if (std::count_if(out.begin(), out.end(), [](location const& one) { return one.path == "-"; }) > 1)
        throw option_error{"--rebase", "only one image can come from standard input; write others to files"};
    return out;
}

base_image read_image(needed_image const& from, std::optional<platform> const& wanted) {
    return std::visit(
        [&]<class Store>(Store const& store) {
            auto const layers = std::make_shared<interruptible_store<Store>>(store, transfer_size);
            return read_base(layers, resolve_in(store, from.where), wanted);
        },
        from.source);
}

// Puts the image below the new layers, or where there are none in their place.
void build_upon(std::vector<needed_image> const& bases, std::optional<platform> const& wanted,
                build_result& result) {
    auto image = read_image(bases.front(), wanted);
    if (!result.layers.empty()) {
        result.base = std::move(image);
        return;
    }
    if (result.names.empty()) result.names = references_in(bases.front().source, bases.front().where);
    if (bases.size() == 1) {
        result = as_result(std::move(image), std::move(result));
    } else {
        auto const same = read_config(image.config, "configuration of the image").platform;
        result = rebase(std::move(image), read_image(bases[1], same), read_image(bases[2], same),
                        std::move(result));
    }
}

std::string read_config_file(std::string const& path) {
    return read_file(path, 4 << 20);
}

// What all platforms have in common.
build_result parse_build(export_arguments const& arguments) {
    build_result result{.names = arguments.tags};
    parse_inputs(arguments.inputs, result.layers);
    parse_attestations(arguments.attestations, result.attestations);
    if (arguments.config_file) result.config = read_config_file(*arguments.config_file);
    for (auto const& variable : arguments.env) result.changes.env.push_back(checked("--env", variable));
    for (auto const& label : arguments.labels) {
        auto [key, value] = parse_pair("--label", checked("--label", label));
        result.changes.labels.insert_or_assign(std::move(key), std::move(value));
    }
    result.changes.exposed_ports = arguments.exposed;
    if (arguments.entrypoint)
        result.changes.entrypoint =
            parse_words("--entrypoint", checked("--entrypoint", *arguments.entrypoint));
    if (arguments.cmd) result.changes.cmd = parse_words("--cmd", checked("--cmd", *arguments.cmd));
    result.changes.working_dir = checked("--workdir", arguments.workdir);
    result.changes.user = checked("--user", arguments.user);
    return result;
}

struct platform_build {
    build_result result;
    std::optional<platform> wanted; // the result takes it from the base image, if there is one
};

std::vector<platform_build> parse_builds(export_arguments const& arguments) {
    auto const common = parse_build(arguments);
    std::vector<platform_build> builds;
    for (auto const& one : arguments.platforms) {
        auto& build = builds.emplace_back(platform_build{common, parse_platform(one.platform)});
        if (!arguments.from) build.result.platform = build.wanted;
        parse_inputs(one.inputs, build.result.layers);
        parse_attestations(one.attestations, build.result.attestations);
        if (one.config_file) build.result.config = read_config_file(*one.config_file);
        if (build.result.layers.empty() && !arguments.from && arguments.platforms.size() > 1)
            throw option_error{"INPUT", "is missing for the platform " + printable(one.platform) +
                                            ": name a directory or a tar file after it, or for all platforms "
                                            "before the first --platform"};
    }
    if (builds.empty()) builds.push_back({common, std::nullopt});
    if (builds.front().result.layers.empty() && !arguments.from)
        throw option_error{"INPUT", "is missing: name a directory or a tar file"};
    for (auto const& build : builds)
        if (!arguments.rebase.empty() && !build.result.layers.empty())
            throw option_error{"--rebase",
                               "does not go with an INPUT; export the image, then build upon that"};
    return builds;
}

std::optional<squash_scope> parse_squash(std::optional<std::string> const& text) {
    if (!text) return std::nullopt;
    if (*text == "true") return squash_scope::above_base;
    if (*text == "all") return squash_scope::all;
    throw option_error{"--squash", "'" + printable(*text) +
                                       "': expected --squash for the layers above the base image, or "
                                       "--squash=all for those of the base, too"};
}

// "shiplap cpoy a b": the word became an INPUT.
void refuse_misspelt_subcommand(export_arguments const& arguments) {
    if (!arguments.outputs.empty() || arguments.inputs.empty()) return;
    auto const& word = arguments.inputs.front();
    for (std::string_view const command : {"copy", "inspect", "index"})
        if (detail::edit_distance(word, command) <= 2 && !std::filesystem::exists(word))
            throw option_error{"INPUT", "'" + printable(word) +
                                            "' is neither a subcommand nor there; did you mean '" +
                                            std::string{command} + "'?"};
}

} // namespace

void export_images(export_arguments const& arguments, common_options const& common) {
    progress_display display{parse_progress_style(common.progress)};
    refuse_misspelt_subcommand(arguments);
    auto const specs = parse_outputs(arguments, common);
    auto const squashing = parse_squash(arguments.squash);
    auto const base_locations = parse_bases(arguments, common);
    std::vector<needed_image> bases;
    bases.reserve(base_locations.size());
    auto builds = parse_builds(arguments);
    keep_timestamps const timestamps;
    export_env_of_command env{shared_pool{common.jobs}, progress_ref{display}, timestamps_ref{timestamps},
                              open_registries(common, progress_ref{display})};
    for (auto const& where : base_locations) bases.push_back({where, open_source(where, env.registries)});
    begin_interruptible_work();
    if (!bases.empty())
        for (auto& build : builds) build_upon(bases, build.wanted, build.result);
    std::vector<build_result> results;
    results.reserve(builds.size());
    for (auto& build : builds) results.push_back(std::move(build.result));
    bool const is_list = results.size() > 1;
    if (squashing) {
        for (auto const& spec : specs) check_export(spec, {results, is_list}); // before the work
        results = squash(results, *squashing, env);                            // once for all outputs
    }
    export_to_all(specs, {results, is_list}, arguments, env);
}

} // namespace shiplap_command
