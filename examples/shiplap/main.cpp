// shiplap: exports directories and tars as container images. This file reads the command line; what it asks for is in
// export.cpp, copy.cpp and inspect.cpp.
//
// Exit codes: 0 done, 1 failed, 2 wrong usage, 128+n stopped by signal n.

#include "command.hpp"

#include <shiplap/error.hpp>
#include <shiplap/version.hpp>

#include <CLI/CLI.hpp>

#include <csignal>
#include <cstdio>
#include <exception>
#include <thread>

#include <sys/resource.h>

namespace {

using namespace shiplap_command;

constexpr int failed = 1, wrong_usage = 2;

void on_signal(int signal) { interrupted_by = signal; }

// Unwinding on SIGINT and SIGTERM lets every unfinished output clean up after itself; a second one ends at once.
void handle_signals() {
    struct sigaction action {};
    action.sa_handler = on_signal;
    action.sa_flags = SA_RESETHAND | SA_RESTART;
    ::sigaction(SIGINT, &action, nullptr);
    ::sigaction(SIGTERM, &action, nullptr);
    // A full pipe or a file size limit shall be an error with a name, not a death.
    std::signal(SIGPIPE, SIG_IGN);
    std::signal(SIGXFSZ, SIG_IGN);
}

// Every staged blob is an open file without a name: allow as many as the system does.
void raise_file_limit() {
    struct rlimit limit {};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit); // a refusal leaves the old limit, which is fine for most images
}

void add_common(CLI::App& app, common_options& common) {
    app.add_option("--progress", common.progress, "auto, tty, plain, json or none")->capture_default_str();
    app.add_option("--store", common.store, "folder of the local image store");
    app.add_option("--jobs", common.jobs, "threads to compress with; the result does not depend on it")
        ->check(CLI::Range(1U, 1024U))
        ->capture_default_str();
}

int run(int argc, char** argv) {
    CLI::App app{"Exports directories and tars as container images", "shiplap"};
    app.set_version_flag("--version", std::string{shiplap::version});
    app.footer("INPUT, bottom layer first: DIR, FILE.tar[.gz|.zst], dir:PATH, tar:PATH (tar:- is standard input) or diff:LOWER:UPPER\n"
               "IMAGE: oci-layout:PATH[:NAME], oci-archive:FILE[:NAME], docker-archive:FILE[:NAME], store:NAME\n"
               "Example: shiplap -o type=oci,dest=app.tar -t example.com/app:1 --entrypoint /bin/app ./rootfs");

    common_options common;
    common.jobs = std::max(1U, std::thread::hardware_concurrency());
    export_arguments arguments;
    add_common(app, common);
    app.add_option("INPUT", arguments.inputs, "layers, bottom first");
    app.add_option("-o,--output", arguments.outputs, "type=image|oci|docker|local|tar,key=value,...; may be repeated")
        ->allow_extra_args(false);
    app.add_option("-t,--tag", arguments.tags, "name of the image; may be repeated")->allow_extra_args(false);
    app.add_option("--platform", arguments.platform, "os/architecture[/variant]; default: this machine's");
    app.add_option("--annotation", arguments.annotations, "[manifest|manifest-descriptor:]KEY=VALUE")->allow_extra_args(false);
    app.add_option("--label", arguments.labels, "KEY=VALUE")->allow_extra_args(false);
    app.add_option("--env", arguments.env, "KEY=VALUE")->allow_extra_args(false);
    app.add_option("--entrypoint", arguments.entrypoint, "a JSON array or one word");
    app.add_option("--cmd", arguments.cmd, "a JSON array or one word");
    app.add_option("--workdir", arguments.workdir, "working directory in the image");
    app.add_option("--user", arguments.user, "user[:group] that processes run as");
    app.add_option("--expose", arguments.exposed, "PORT[/tcp|/udp|/sctp]")->allow_extra_args(false);
    app.add_option("--config", arguments.config_file, "image configuration (JSON) to start from");
    app.add_option("--metadata-file", arguments.metadata_file, "write digests and names as JSON");
    app.add_option("--digest", arguments.digest, "sha256 or sha512")->capture_default_str();

    std::string source, destination, image;
    bool as_json = false;
    auto* const copy = app.add_subcommand("copy", "copy an image, bytes unchanged; rootfs:DIR extracts it");
    copy->add_option("SRC", source, "IMAGE")->required();
    copy->add_option("DST", destination, "IMAGE or rootfs:DIR")->required();
    add_common(*copy, common);
    auto* const inspect = app.add_subcommand("inspect", "show manifest, configuration, layers and sizes");
    inspect->add_option("IMAGE", image)->required();
    inspect->add_flag("--json", as_json, "as one JSON object");
    add_common(*inspect, common);

    try {
        app.parse(argc, argv);
    } catch (CLI::ParseError const& problem) {
        return app.exit(problem) == 0 ? 0 : wrong_usage;
    }
    if (copy->parsed()) copy_image(source, destination, common);
    else if (inspect->parsed()) inspect_image(image, as_json, common);
    else export_images(arguments, common);
    if (std::fflush(stdout) != 0) throw shiplap::system_error{"write", "standard output", errno};
    return 0;
}

} // namespace

int main(int argc, char** argv) {
    handle_signals();
    raise_file_limit();
    try {
        return run(argc, argv);
    } catch (shiplap::option_error const& problem) {
        std::fprintf(stderr, "shiplap: %s\n", problem.what());
        return wrong_usage;
    } catch (interrupted const& stopped) {
        std::fprintf(stderr, "shiplap: interrupted; nothing was published\n");
        return 128 + stopped.signal;
    } catch (std::exception const& problem) {
        std::fprintf(stderr, "shiplap: %s\n", problem.what());
        return failed;
    }
}
