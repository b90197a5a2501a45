// shiplap copy --output: a whole image through an export: all platforms, attestations and annotations.

#include "command.hpp"
#include "interruption.hpp"
#include "outputs.hpp"
#include "transports.hpp"

namespace shiplap_command {

using namespace shiplap;

void convert_image(std::string const& source, output_arguments const& arguments,
                   common_options const& common) {
    progress_display display{parse_progress_style(common.progress)};
    auto specs = parse_outputs(arguments, common);
    auto const from = parse_location("SRC", source, common.store);
    keep_timestamps const timestamps;
    export_env_of_command env{shared_pool{common.jobs}, progress_ref{display}, timestamps_ref{timestamps},
                              open_registries(common, progress_ref{display})};
    auto const opened = open_source(from, env.registries);
    begin_interruptible_work();
    auto image = std::visit(
        [&]<class Store>(Store const& store) {
            auto const layers = std::make_shared<interruptible_store<Store>>(store, transfer_size);
            return read_existing(layers, resolve_in(store, from));
        },
        opened);
    for (auto const& warning : image.warnings) env.progress.warn(warning);
    for (auto& result : image.results) result.names = references_in(opened, from);
    for (auto& spec : specs) keep_index_annotations(spec, image);
    export_to_all(specs, image.input(), arguments, env);
}

} // namespace shiplap_command
