#pragma once
// What the parts of the command share.

#include "progress.hpp"

#include <optional>
#include <string>
#include <vector>

namespace shiplap_command {

/// Options that every subcommand understands.
struct common_options {
    std::string progress = "auto";
    std::string store;     ///< folder of the local image store; empty: where the environment says
    unsigned jobs = 1;     ///< threads
    bool insecure = false; ///< registries may speak plain HTTP or show any certificate
    std::vector<std::string>
        trusted;                  ///< hosts that a registry may send us to though their addresses are private
    unsigned transfers = 4;       ///< to or from a registry at once
    unsigned retry_seconds = 120; ///< without progress, until a push or pull is given up
};

/// What was said of one of several platforms.
struct platform_arguments {
    std::string platform;
    std::vector<std::string> inputs{}, attestations{};
    std::optional<std::string> config_file{}; ///< instead of the one for all
};

/// What is said of all outputs.
struct output_arguments {
    std::vector<std::string> outputs, tags, annotations;
    std::string digest = "sha256";
    std::optional<std::string> metadata_file;
};

/// Raw words of the command line; export_images() gives them meaning.
struct export_arguments : output_arguments {
    std::vector<std::string> inputs, attestations; ///< for all platforms
    std::vector<platform_arguments> platforms;     ///< none: this machine's; several make an index
    std::vector<std::string> labels, env, exposed;
    std::vector<std::string> rebase; ///< two images, the old base and the new one, or none
    std::optional<std::string> from, entrypoint, cmd, config_file;
    std::string workdir, user;
    std::optional<std::string> squash; ///< "true" where it stands alone
};

// Each prints its result on standard output and throws on failure: option_error for wrong usage, interrupted after a
// signal, any other exception for what went wrong.
void export_images(export_arguments const& arguments, common_options const& common);
void copy_image(std::string const& source, std::string const& destination, common_options const& common);
void convert_image(std::string const& source, output_arguments const& arguments,
                   common_options const& common);
void create_index(std::string const& name, std::vector<std::string> const& images,
                  std::vector<std::string> const& annotations, common_options const& common);
void inspect_image(std::string const& image, bool as_json, common_options const& common);
void list_store(bool as_json, common_options const& common);
void remove_from_store(std::vector<std::string> const& names, common_options const& common);
void clean_store(bool only_try, common_options const& common);

} // namespace shiplap_command
