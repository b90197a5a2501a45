// shiplap copy: any image transport to any other. The image's bytes stay as they are.

#include "command.hpp"
#include "interruption.hpp"
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

// Without a name on either side an image keeps all that it has.
template <class Store>
std::vector<image_name> names_for(Store const& store, location const& from, location const& to,
                                  descriptor const& root) {
    if (!to.name.empty()) return {chosen_name(to)};
    return names_in(store, from, root);
}

template <class Store, image_sink Sink>
void deliver(Store const& store, location const& from, location const& to, Sink sink,
             progress_display& display) {
    auto const root = resolve_in(store, from);
    if (to.transport == "docker")
        if (auto const wanted = reference::parse(to.name).digest(); wanted && *wanted != root.digest)
            throw option_error{"DST", to.name,
                               "the image is " + root.digest.text() +
                                   ", not what the digest in this name says"};
    auto names = names_for(store, from, to, root);
    std::erase(names, image_name{});
    copy_env env{display};
    auto const piece = to.transport == "rootfs" ? std::size_t{16} << 10 : transfer_size;
    copy(named_entry(root, {}), names, interruptible_store{store, piece}, sink, env);
    auto* const out = to.path == "-" ? stderr : stdout; // standard output may carry the image itself
    std::fprintf(out, "%s\n", root.digest.text().c_str());
}

} // namespace

void copy_image(std::string const& source, std::string const& destination, common_options const& common) {
    progress_display display{parse_progress_style(common.progress)};
    auto const from = parse_location("SRC", source, common.store);
    auto const to = parse_location("DST", destination, common.store);
    if (to.path == "-" && ::isatty(STDOUT_FILENO) != 0)
        throw option_error{"DST", "refusing to write an archive to a terminal; name a file or redirect it"};
    auto const registries = open_registries(common, progress_ref{display});
    auto const opened = open_source(from, registries);
    begin_interruptible_work();
    std::visit(
        [&](auto const& store) {
            if (to.transport == "oci-archive")
                return deliver(store, from, to, oci_archive_sink{to.path}, display);
            if (to.transport == "docker-archive")
                return deliver(store, from, to, docker_archive_sink{to.path}, display);
            if (to.transport == "rootfs")
                return deliver(store, from, to,
                               filesystem_sink{to.path, {.extraction = {.progress = progress_ref{display}}}},
                               display);
            if (to.transport == "docker") {
                auto const name = reference::parse(to.name);
                registry_options how;
                if (name.tag().empty()) how.untagged = {name}; // by its digest alone
                return deliver(
                    store, from, to,
                    registries.sink(name.tag().empty() ? std::vector<reference>{} : std::vector{name}, how),
                    display);
            }
            return deliver(store, from, to, layout_sink{to.path}, display);
        },
        opened);
}

} // namespace shiplap_command
