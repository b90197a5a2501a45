#pragma once
// What every --output goes through, whatever is exported.

#include <shiplap/shiplap.hpp>

#include "command.hpp"
#include "registries.hpp"

#include <optional>
#include <string>
#include <vector>

namespace shiplap_command {

/// What exports are lent.
struct export_env_of_command {
    shiplap::shared_pool executor;
    shiplap::progress_ref progress;
    shiplap::timestamps_ref timestamps;
    shiplap::curl_registries registries;
};

/// `text`, which is to end up in JSON. Throws option_error if it is not UTF-8.
std::string const& checked(char const* option, std::string const& text);

/// One spec for each output. Throws option_error.
std::vector<shiplap::export_spec> parse_outputs(output_arguments const& arguments,
                                                common_options const& common);

/// Exports to all outputs and prints the digest of each. All are checked before the first one begins. The facts of all
/// go into `metadata_file`.
void export_to_all(std::vector<shiplap::export_spec> const& specs, shiplap::export_input const& what,
                   output_arguments const& arguments, export_env_of_command& env);

} // namespace shiplap_command
