// shiplap copy: any image transport to any other. The image's bytes stay as they are.

#include "command.hpp"
#include "transports.hpp"

#include <cstdio>

#include <unistd.h>

namespace shiplap_command {

using namespace shiplap;

namespace {

struct copy_env {
    progress_display& progress;
};

// The name that the user gave; a plain tag stays one where the destination can hold that.
image_name chosen_name(location const& to) {
    if (to.transport == "oci-layout" || to.transport == "oci-archive")
        if (to.name.find_first_of("/:@") == std::string::npos) return {{}, to.name};
    return name_of(reference::parse(to.name).with_default_tag());
}

template <class Store, image_sink Sink>
void deliver(Store const& from, descriptor root, location const& to, Sink sink, progress_display& display) {
    auto name = to.name.empty() ? name_of_entry(root) : chosen_name(to);
    auto const entry = named_entry(std::move(root), {});
    std::vector<image_name> const names(name == image_name{} ? 0 : 1, name);
    copy_env env{display};
    copy(entry, names, from, sink, env);
    auto* const out = to.path == "-" ? stderr : stdout; // standard output may carry the image itself
    std::fprintf(out, "%s\n", entry.digest.text().c_str());
}

} // namespace

void copy_image(std::string const& source, std::string const& destination, common_options const& common) {
    progress_display display{parse_progress_style(common.progress)};
    auto const from = parse_location("SRC", source, common.store);
    auto const to = parse_location("DST", destination, common.store);
    if (to.path == "-" && ::isatty(STDOUT_FILENO) != 0) throw option_error{"DST", "refusing to write an archive to a terminal; redirect it"};
    auto const opened = open_source(from);
    auto const root = resolve(opened, from);
    std::visit(
        [&](auto const& store) {
            if (to.transport == "oci-archive") return deliver(store, root, to, oci_archive_sink{to.path}, display);
            if (to.transport == "docker-archive") return deliver(store, root, to, docker_archive_sink{to.path}, display);
            if (to.transport == "rootfs") return deliver(store, root, to, filesystem_sink{to.path, {.extraction = {.progress = progress_ref{display}}}}, display);
            return deliver(store, root, to, layout_sink{to.path}, display);
        },
        opened);
}

} // namespace shiplap_command
