// The main job: inputs -> layers -> one image -> one or more outputs.

#include <shiplap/shiplap.hpp>

#include "command.hpp"
#include "interruption.hpp"
#include "transports.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
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

// All of these end up in JSON, which is UTF-8.
std::string const& checked(char const* option, std::string const& text) {
    try {
        static_cast<void>(nlohmann::json(text).dump());
    } catch (nlohmann::json::type_error const&) {
        throw option_error{option, "'" + printable(text) + "' is not UTF-8"};
    }
    return text;
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

struct export_env_of_command {
    shared_pool executor;
    progress_ref progress;
    timestamps_ref timestamps;
    curl_registries registries;
};

location parse_base(export_arguments const& arguments, common_options const& common) {
    auto where = parse_location("--from", *arguments.from, common.store);
    if (where.path == "-" && is_read_from_input(arguments))
        throw option_error{"--from", "standard input cannot be both the base image and the INPUT tar:-"};
    if (where.transport == "rootfs")
        throw option_error{"--from", "a root file system is no image; give it as the first INPUT: dir:" +
                                         printable(where.path)};
    return where;
}

base_image read_base_from(image_source const& source, location const& where,
                          std::optional<platform> const& wanted) {
    return std::visit(
        [&]<class Store>(Store const& store) {
            auto const layers = std::make_shared<interruptible_store<Store>>(store, transfer_size);
            return read_base(layers, resolve_in(store, where), wanted);
        },
        source);
}

// What all platforms have in common.
build_result parse_build(export_arguments const& arguments) {
    build_result result;
    parse_inputs(arguments.inputs, result.layers);
    parse_attestations(arguments.attestations, result.attestations);
    if (arguments.config_file) result.config = read_file(*arguments.config_file, 4 << 20);
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
        if (build.result.layers.empty() && !arguments.from && arguments.platforms.size() > 1)
            throw option_error{"INPUT", "is missing for the platform " + printable(one.platform) +
                                            ": name a directory or a tar file after it, or for all platforms "
                                            "before the first --platform"};
    }
    if (builds.empty()) builds.push_back({common, std::nullopt});
    if (builds.front().result.layers.empty() && !arguments.from)
        throw option_error{"INPUT", "is missing: name a directory or a tar file"};
    return builds;
}

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

std::optional<squash_scope> parse_squash(std::optional<std::string> const& text) {
    if (!text) return std::nullopt;
    if (*text == "true") return squash_scope::above_base;
    if (*text == "all") return squash_scope::all;
    throw option_error{"--squash", "'" + printable(*text) +
                                       "': expected --squash for the layers above the base image, or "
                                       "--squash=all for those of the base, too"};
}

bool makes_an_image(attributes const& given) {
    auto const type = detail::parse_output_type(given);
    return type != output_type::local && type != output_type::tar;
}

std::vector<export_spec> parse_outputs(export_arguments const& arguments, common_options const& common) {
    if (arguments.outputs.empty()) {
        for (std::string_view const command : {"copy", "inspect", "index"})
            if (!arguments.inputs.empty() && detail::edit_distance(arguments.inputs.front(), command) <= 2 &&
                !std::filesystem::exists(arguments.inputs.front()))
                throw option_error{"INPUT", "'" + printable(arguments.inputs.front()) +
                                                "' is neither a subcommand nor there; did you mean '" +
                                                std::string{command} + "'?"};
        throw option_error{"--output",
                           "is missing: say where the image goes, such as -o type=oci,dest=image.tar"};
    }
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
            if (!tags.empty() && !unused_tags) given.push_back({"name", tags, 0});
            for (auto const& annotation : arguments.annotations) add_annotation(given, annotation);
        }
        for (auto const& one : given)
            if (one.key.starts_with("annotation")) checked(one.key.c_str(), one.key + "=" + one.value);
        auto spec = export_spec::from(given);
        spec.digest = *digest;
        spec.store = common.store;
        if (unused_tags)
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

// Where a file can later be published; that it cannot shall be known before the work.
std::optional<staged_file> stage(std::optional<std::string> const& path) {
    if (!path) return std::nullopt;
    if (std::error_code ignored; std::filesystem::is_directory(*path, ignored))
        throw system_error{"write", *path, EISDIR};
    return staged_file{detail::parent_of(*path)};
}

} // namespace

void export_images(export_arguments const& arguments, common_options const& common) {
    progress_display display{parse_progress_style(common.progress)};
    auto const specs = parse_outputs(arguments, common);
    auto const squashing = parse_squash(arguments.squash);
    std::optional<image_source> base_source; // outlives the layers that lie there
    auto builds = parse_builds(arguments);
    keep_timestamps const timestamps;
    export_env_of_command env{shared_pool{common.jobs}, progress_ref{display}, timestamps_ref{timestamps},
                              open_registries(common, progress_ref{display})};
    if (arguments.from) base_source.emplace(open_source(parse_base(arguments, common), env.registries));
    begin_interruptible_work();
    if (arguments.from) {
        auto const where = parse_base(arguments, common);
        for (auto& build : builds) build.result.base = read_base_from(*base_source, where, build.wanted);
    }
    std::vector<build_result> results;
    results.reserve(builds.size());
    for (auto& build : builds) results.push_back(std::move(build.result));
    bool const is_list = results.size() > 1;
    for (auto const& spec : specs) check_export(spec, {results, is_list});

    metadata facts;
    auto metadata_file = stage(arguments.metadata_file);
    if (squashing) results = squash(results, *squashing, env); // once for all outputs
    export_input const what{results, is_list};
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
    if (!metadata_file) return;
    metadata_file->write(as_bytes(facts.text()));
    metadata_file->publish(*arguments.metadata_file, 0644);
}

} // namespace shiplap_command
