// A progress observer is anything that can be called with a progress_event. It travels in the env.

#include <shiplap/shiplap.hpp>

#include "demo_tree.hpp"

#include <iostream>

using namespace shiplap;

struct printer {
    void operator()(progress_event const& event) const {
        using kind = progress_event::kind;
        if (event.what == kind::started)
            std::cout << event.activity << (event.activity == "pack" ? " " + std::string{event.subject} : "")
                      << '\n';
        if (event.what == kind::finished)
            std::cout << "  done, " << (event.done > 0 ? "some bytes" : "nothing") << '\n';
        if (event.what == kind::warning) std::cout << "  warning: " << event.text << '\n';
    }
};

struct talkative_env : default_env {
    printer progress;
};

int main() {
    exporter out{gzip{}, docker_media_types{}, sha256{}, docker_archive_sink{"app.tar"}, talkative_env{}};
    out(build_result{.layers = {directory_layer{.path = demo_tree("app"), .owners = root_owned}}},
        {.names = {"app"}});
}
