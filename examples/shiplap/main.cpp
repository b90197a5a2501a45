// shiplap: exports directories and tars as container images. This file reads the command line; what it asks for is in
// export.cpp, copy.cpp and inspect.cpp.
//
// Exit codes: 0 done, 1 failed, 2 wrong usage, 75 a retry may help, 128+n stopped by signal n.

#include <shiplap/error.hpp>
#include <shiplap/registry/error.hpp>
#include <shiplap/version.hpp>

#include "command.hpp"
#include "interruption.hpp"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <exception>
#include <memory>
#include <thread>

#include <fcntl.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <sys/resource.h>
#include <unistd.h>

namespace {

using namespace shiplap_command;

constexpr int done = 0, failed = 1, wrong_usage = 2, try_again = 75; // as EX_TEMPFAIL of sysexits.h

// A closed standard stream must not be the number of the next file that is opened: what is printed would end up in it.
// Opened the wrong way round, its use is an error as before.
void occupy_standard_streams() {
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd)
        if (::fcntl(fd, F_GETFD) < 0) ::open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

// Every staged blob is an open file without a name: allow as many as the system does.
void raise_file_limit() {
    struct rlimit limit {};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit); // a refusal leaves the old limit, which is fine for most images
}

// Shows what a value is called and nothing else: no "TEXT", and no "..." where an option takes one value at a time.
struct help_formatter : CLI::Formatter {
    std::string make_option_opts(CLI::Option const* option) const override {
        return option->get_type_name().empty() ? "" : " " + option->get_type_name();
    }
};

std::string explain(CLI::App const* app, CLI::Error const& problem) {
    auto const* text = problem.what();
    return std::string{"shiplap: "} + text + "\nSee '" + (app->get_parent() ? "shiplap " : "") +
           app->get_name() + " --help'.\n";
}

CLI::Option* add_value(CLI::App& app, std::string const& names, std::string& value, char const* type,
                       std::string const& description) {
    return app.add_option(names, value, description)->type_name(type)->take_last();
}
CLI::Option* add_value(CLI::App& app, std::string const& names, std::optional<std::string>& value,
                       char const* type, std::string const& description) {
    return app.add_option(names, value, description)->type_name(type)->take_last();
}
// May be repeated, with one value each time: what follows is an INPUT.
CLI::Option* add_values(CLI::App& app, std::string const& names, std::vector<std::string>& values,
                        char const* type, std::string const& description) {
    return app.add_option(names, values, description)->type_name(type)->allow_extra_args(false);
}

void add_store(CLI::App& app, common_options& common) {
    add_value(app, "--store", common.store, "DIR",
              "image store; else $SHIPLAP_STORE, else ${XDG_DATA_HOME:-~/.local/share}/shiplap");
}

void add_metadata_file(CLI::App& app, output_arguments& arguments) {
    add_value(app, "--metadata-file", arguments.metadata_file, "FILE", "write digests and names as JSON");
}

void add_progress(CLI::App& app, common_options& common) {
    add_value(app, "--progress", common.progress, "STYLE",
              "auto, tty, plain, json or none; on standard error");
}

void add_registry(CLI::App& app, common_options& common) {
    add_values(app, "--trust-realm", common.trusted, "HOST[:PORT]",
               "where a registry may send us though its address is private; repeatable");
    app.add_option("--transfers", common.transfers, "blobs to or from a registry at once, by default 4")
        ->type_name("N")
        ->check(CLI::Range(1U, 64U).description(""));
    app.add_option("--retry-time", common.retry_seconds,
                   "seconds without progress until a registry is given up, by default 120; 0: no retries")
        ->type_name("SECONDS")
        ->check(CLI::Range(0U, 86400U).description(""));
}
void add_jobs(CLI::App& app, common_options& common) {
    app.add_option("--jobs", common.jobs,
                   "threads, by default one per processor; the result does not depend on it")
        ->type_name("N")
        ->check(CLI::Range(1U, 1024U).description(""));
}
void add_insecure(CLI::App& app, common_options& common) {
    app.add_flag("--insecure", common.insecure, "registries may speak plain HTTP or show any certificate");
}

constexpr char input_forms[] =
    "INPUT is a layer: DIR, FILE.tar[.gz|.zst], dir:PATH, tar:PATH, diff:LOWER:UPPER;\n"
    "tar:- is standard input. A directory called like a subcommand is written dir:copy.\n";

constexpr char image_forms[] =
    "IMAGE is oci-layout:PATH[:NAME], oci-archive:FILE[:NAME], docker-archive:FILE[:NAME],\n"
    "docker://NAME (in a registry) or store:NAME. ";

/// The command line, declared and parsed.
class command_line {
  public:
    command_line() {
        common_.jobs = std::max(1U, std::thread::hardware_concurrency());
        app_.formatter(std::make_shared<help_formatter>());
        app_.set_help_flag("-h,--help", "this text");
        app_.set_version_flag("--version", std::string{"shiplap "} + shiplap::version, "the version");
        app_.failure_message(explain);
        app_.footer(
            std::string{input_forms} + image_forms +
            "\n\n"
            "The digest of the image is printed on standard output; with dest=- the archive\n"
            "goes there, and the digest to standard error.\n"
            "Exit codes: 0 done, 1 failed, 2 wrong usage, 75 a retry may help, 128+n signal n.\n"
            "\n"
            "Several --platform make an image for each: what follows one is for it, what stands before\n"
            "the first is for all.\n"
            "\n"
            "Examples:\n"
            "  shiplap -o type=oci,dest=app.tar -t example.com/app:1 --entrypoint /bin/app ./rootfs\n"
            "  shiplap -o type=oci,dest=app.tar --platform linux/amd64 ./amd64 --attest "
            "type=sbom,file=s.json \\\n"
            "          --platform linux/arm64 ./arm64");
        declare_export();
        declare_copy();
        declare_inspect();
        declare_index();
        declare_store();
    }

    int run(int argc, char** argv) {
        try {
            app_.parse(argc, argv);
        } catch (CLI::ParseError const& problem) {
            if (problem.get_exit_code() != 0) {
                refuse_half_a_command();
                refuse_mixture();
            }
            return app_.exit(problem) == 0 ? done : wrong_usage;
        }
        refuse_mixture();
        group_by_platform();
        if (create_->parsed())
            create_index(name_, images_, index_annotations_, common_);
        else if (copy_->parsed())
            copy_or_convert();
        else if (inspect_->parsed())
            inspect_image(image_, as_json_, common_);
        else if (list_->parsed())
            list_store(as_json_, common_);
        else if (remove_->parsed())
            remove_from_store(images_, common_);
        else if (clean_->parsed())
            clean_store(only_try_, common_);
        else
            export_images(arguments_, common_);
        if (std::fflush(stdout) != 0) throw shiplap::system_error{"write", "standard output", errno};
        return done;
    }

  private:
    // CLI11 says that a subcommand is required, but neither where nor which ones there are.
    void refuse_half_a_command() const {
        for (auto const& [command, parts] : {std::pair{index_, "create"}, std::pair{store_, "ls, rm or gc"}})
            if (command->parsed() && command->get_subcommands().empty())
                throw shiplap::option_error{"run", command->get_name(),
                                            std::string{"needs a subcommand of its own: "} + parts};
    }

    void declare_export() {
        input_ = app_.add_option("INPUT", inputs_, "layers, bottom first")->type_name("...");
        add_value(app_, "--from", arguments_.from, "IMAGE",
                  "base image, below the layers; without any INPUT it is exported again");
        app_.add_option("--rebase", arguments_.rebase,
                        "two IMAGEs: that of --from is built upon OLD and goes upon NEW, without any INPUT")
            ->type_name("OLD NEW")
            ->expected(2)
            ->allow_extra_args(false);
        add_values(app_, "-o,--output", arguments_.outputs, "SPEC",
                   "type=image|registry|oci|docker|local|tar,key=value,...; repeatable");
        add_values(app_, "-t,--tag", arguments_.tags, "NAME", "name of the image; repeatable");
        platform_ = add_values(app_, "--platform", platforms_, "P",
                               "os/architecture[/variant], by default this machine's; with --from, which of "
                               "its images; repeatable");
        add_values(app_, "--annotation", arguments_.annotations, "K=V",
                   "[TYPE[PLATFORM],...:]KEY=VALUE with TYPE manifest, manifest-descriptor, index or "
                   "index-descriptor; "
                   "repeatable, as the following");
        attest_ = add_values(
            app_, "--attest", attestations_, "SPEC",
            "type=sbom|provenance|URI,file=FILE: a predicate; file=FILE or DIR: in-toto statements");
        add_values(app_, "--label", arguments_.labels, "K=V", "label of the configuration");
        add_values(app_, "--env", arguments_.env, "K=V", "environment variable");
        add_values(app_, "--expose", arguments_.exposed, "P", "port or ports: 80, 53/udp, 8000-8010/tcp");
        add_value(app_, "--entrypoint", arguments_.entrypoint, "WORDS",
                  "a JSON array of strings, or one word");
        add_value(app_, "--cmd", arguments_.cmd, "WORDS", "a JSON array of strings, or one word");
        add_value(app_, "--workdir", arguments_.workdir, "DIR", "working directory in the image");
        add_value(app_, "--user", arguments_.user, "USER", "user[:group] that processes run as");
        config_ = add_values(app_, "--config", configs_, "FILE", "image configuration to start from (JSON)");
        app_.add_flag("--squash", arguments_.squash,
                      "one layer instead of several; --squash=all: of the base image's, too")
            ->take_last();
        add_value(app_, "--digest", arguments_.digest, "NAME", "sha256, the default, or sha512");
        add_metadata_file(app_, arguments_);
        for (auto const* option : app_.get_options())
            if (option->get_name() != "--help" && option->get_name() != "--version")
                export_options_.push_back(option);
        add_store(app_, common_);
        add_progress(app_, common_);
        add_registry(app_, common_);
        add_insecure(app_, common_);
        add_jobs(app_, common_);
    }

    // One platform stands anywhere; of several each begins a group.
    void group_by_platform() {
        if (platforms_.size() < 2) {
            arguments_.inputs = inputs_;
            arguments_.attestations = attestations_;
            if (!configs_.empty()) arguments_.config_file = configs_.back();
            if (!platforms_.empty()) arguments_.platforms.push_back({platforms_.front()});
            return;
        }
        auto& groups = arguments_.platforms;
        std::size_t inputs = 0, attestations = 0, configs = 0;
        for (auto const* option : app_.parse_order()) {
            if (option == platform_)
                groups.push_back({platforms_[groups.size()]});
            else if (option == input_)
                (groups.empty() ? arguments_.inputs : groups.back().inputs).push_back(inputs_[inputs++]);
            else if (option == attest_)
                (groups.empty() ? arguments_.attestations : groups.back().attestations)
                    .push_back(attestations_[attestations++]);
            else if (option == config_)
                (groups.empty() ? arguments_.config_file : groups.back().config_file) = configs_[configs++];
        }
    }

    void declare_copy() {
        copy_ = app_.add_subcommand("copy", "copy an image, bytes unchanged, or convert it");
        add_value(*copy_, "SRC", source_, "", "IMAGE")->required();
        add_value(*copy_, "DST", destination_, "", "IMAGE; or rootfs:DIR, which extracts it");
        add_values(
            *copy_, "-o,--output", conversion_.outputs, "SPEC",
            "in the place of DST: convert all of the image, as the option of exports says; repeatable");
        add_metadata_file(*copy_, conversion_);
        add_store(*copy_, common_);
        add_registry(*copy_, common_);
        add_insecure(*copy_, common_);
        add_progress(*copy_, common_);
        add_jobs(*copy_, common_);
        copy_->footer(std::string{image_forms} +
                      "An archive called - is standard input or output.\n"
                      "Without NAME on either side the image keeps all the names it has.\n"
                      "Converted, it has those of the SPEC; with name=* those that it had.\n"
                      "\n"
                      "Examples:\n"
                      "  shiplap copy docker-archive:app.tar oci-layout:app:1\n"
                      "  shiplap copy -o type=registry,name=*,compression=zstd,force-compression=true \\\n"
                      "          docker://r.io/app:1");
    }

    void copy_or_convert() const {
        if (destination_ && !conversion_.outputs.empty())
            throw shiplap::option_error{"--output", "does not go with DST '" +
                                                        shiplap::printable(*destination_) +
                                                        "': --output says where the converted image goes"};
        if (!destination_ && conversion_.outputs.empty())
            throw shiplap::option_error{"DST",
                                        "is missing: say where the copy goes, or with --output how the "
                                        "image is converted"};
        if (destination_ && conversion_.metadata_file)
            throw shiplap::option_error{"--metadata-file", "does not go with DST: a copy makes nothing new"};
        if (destination_)
            copy_image(source_, *destination_, common_);
        else
            convert_image(source_, conversion_, common_);
    }

    void declare_inspect() {
        inspect_ = app_.add_subcommand("inspect", "show manifest, configuration, layers and sizes");
        add_value(*inspect_, "IMAGE", image_, "", "which one")->required();
        inspect_->add_flag("--json", as_json_, "as one JSON object");
        add_store(*inspect_, common_);
        add_registry(*inspect_, common_);
        add_insecure(*inspect_, common_);
        inspect_->footer(std::string{image_forms} + "An archive called - is standard input.\n"
                                                    "\n"
                                                    "Example:\n"
                                                    "  shiplap inspect oci-layout:app:1");
    }

    void declare_index() {
        index_ = app_.add_subcommand("index", "make an index of images in a registry")->footer("");
        index_->require_subcommand(1);
        create_ = index_->add_subcommand("create", "join images that were pushed by digest");
        add_value(*create_, "NAME", name_, "", "what the index is called")->required();
        create_->add_option("IMAGE", images_, "NAME@DIGEST or NAME:TAG, each an image or an index")
            ->type_name("...")
            ->required();
        add_values(*create_, "--annotation", index_annotations_, "K=V",
                   "[index:]KEY=VALUE or manifest-descriptor[PLATFORM]:KEY=VALUE; repeatable");
        add_store(*create_, common_);
        add_progress(*create_, common_);
        add_registry(*create_, common_);
        add_insecure(*create_, common_);
        create_->footer(
            "The images may be in any repository. Where one is in another registry than NAME, it is\n"
            "copied; within one registry its blobs are mounted. What is missing is an error, and\n"
            "then NAME stays what it was.\n"
            "\n"
            "Example:\n"
            "  shiplap index create r.io/app:1 r.io/app@sha256:... r.io/app@sha256:...");
    }

    void declare_store() {
        store_ = app_.add_subcommand("store", "what is in the local image store")->footer("");
        store_->require_subcommand(1);
        list_ = store_->add_subcommand("ls", "list the images: names, digests, platforms, sizes");
        list_->add_flag("--json", as_json_, "as a JSON array");
        remove_ = store_->add_subcommand("rm", "remove names; what they meant stays until gc");
        remove_->add_option("NAME", images_, "name, or digest for all names of that image")
            ->type_name("...")
            ->required();
        clean_ = store_->add_subcommand("gc", "remove blobs and unpacked trees that no image needs");
        clean_->add_flag("--dry-run", only_try_, "only say what would be removed");
        for (auto* const subcommand : {list_, remove_, clean_}) add_store(*subcommand, common_);
        clean_->footer("Exports may go on meanwhile: what they rely on stays.");
    }

    // "shiplap -o type=oci copy": the word became the subcommand, a directory was meant.
    void refuse_mixture() const {
        for (auto const* subcommand : {copy_, inspect_, index_, store_}) {
            if (!subcommand->parsed()) continue;
            for (auto const* option : export_options_)
                if (option->count() != 0)
                    throw shiplap::option_error{
                        option->get_name(),
                        "does not go with the subcommand '" + subcommand->get_name() +
                            "'; if a directory of that name is meant, write dir:" + subcommand->get_name()};
        }
    }

    CLI::App app_{"Exports directories and tars as container images.", "shiplap"};
    CLI::App* copy_ = nullptr;
    CLI::App* inspect_ = nullptr;
    CLI::App* index_ = nullptr;
    CLI::App* create_ = nullptr;
    CLI::App* store_ = nullptr;
    CLI::App *list_ = nullptr, *remove_ = nullptr, *clean_ = nullptr;
    std::vector<CLI::Option const*> export_options_;
    CLI::Option const *input_ = nullptr, *platform_ = nullptr, *attest_ = nullptr, *config_ = nullptr;
    std::vector<std::string> inputs_, platforms_, attestations_, configs_; // in the order of the command line
    common_options common_;
    export_arguments arguments_;
    std::string source_, image_, name_;
    std::optional<std::string> destination_;
    output_arguments conversion_;
    std::vector<std::string> images_, index_annotations_;
    bool as_json_ = false, only_try_ = false;
};

// Blocks of several MiB go back to the system as soon as they are free. Left alone, glibc would keep them after the first
// ones, and those of estargz, which are of many sizes, would leave gaps that add up to half as much memory again.
void return_large_memory() {
#ifdef __GLIBC__
    constexpr int bytes = 1024 * 1024;
    ::mallopt(M_MMAP_THRESHOLD, bytes); // without success it only takes more memory
#endif
}

} // namespace

int main(int argc, char** argv) {
    occupy_standard_streams();
    handle_signals();
    raise_file_limit();
    return_large_memory();
    try {
        return command_line{}.run(argc, argv);
    } catch (shiplap::option_error const& problem) {
        std::fprintf(stderr, "shiplap: %s\n", problem.what());
        return wrong_usage;
    } catch (interrupted const& stopped) {
        std::fprintf(stderr, "shiplap: interrupted; what was unfinished is removed\n");
        return 128 + stopped.signal;
    } catch (shiplap::remote_error const& problem) {
        std::fprintf(stderr, "shiplap: %s\n", problem.what());
        return problem.facts().retryable ? try_again : failed;
    } catch (std::exception const& problem) {
        std::fprintf(stderr, "shiplap: %s\n", problem.what());
        return failed;
    }
}
